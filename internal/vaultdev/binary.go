// Package vaultdev builds and starts the server of tools/vaultdev: the real
// Vault core, for tests and the local demo. It imports nothing of Vault.
package vaultdev

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// buildFlags are the same for everybody who builds the server: other flags
// (-trimpath above all) would compile its 980 packages once more.
const buildFlags = "-ldflags=-s -w"

// Root returns the nearest directory at or above dir that holds tools/vaultdev.
func Root(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("vaultdev: finding the repository: %w", err)
	}
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(moduleDir(at), "go.mod")); err == nil {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("vaultdev: finding the repository: no tools/vaultdev above %s", dir)
		}
	}
}

func moduleDir(root string) string { return filepath.Join(root, "tools", "vaultdev") }

// Binary returns the path of the server, built once for each state of its
// sources and toolchain into the user's cache directory. The first build takes
// minutes and some 450 MB of downloads; progress is told what it is doing.
// Processes that ask at the same time wait for one build.
func Binary(ctx context.Context, root string, progress io.Writer) (string, error) {
	name, err := binaryName(ctx, root)
	if err != nil {
		return "", fmt.Errorf("vaultdev: naming the build: %w", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("vaultdev: finding the cache directory: %w", err)
	}
	path := filepath.Join(cache, "finx-connector", name)
	if isBuilt(path) {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("vaultdev: making the cache directory: %w", err)
	}
	unlock, err := lock(ctx, path+".lock", progress)
	if err != nil {
		return "", fmt.Errorf("vaultdev: waiting for another build: %w", err)
	}
	defer unlock()
	if isBuilt(path) { // by whoever held the lock
		return path, nil
	}
	if err := build(ctx, moduleDir(root), path, progress); err != nil {
		return "", fmt.Errorf("vaultdev: building the server: %w", err)
	}
	return path, nil
}

func isBuilt(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// binaryName is a digest of everything the build depends on.
func binaryName(ctx context.Context, root string) (string, error) {
	files, err := filepath.Glob(filepath.Join(moduleDir(root), "*.go"))
	if err != nil {
		return "", err
	}
	if len(files) == 0 {
		return "", fmt.Errorf("no sources in %s", moduleDir(root))
	}
	slices.Sort(files)
	files = append(files, filepath.Join(moduleDir(root), "go.mod"), filepath.Join(moduleDir(root), "go.sum"))
	digest := sha256.New()
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(digest, "%s %d\n", filepath.Base(file), len(content))
		digest.Write(content)
	}
	// Asked in the module's directory, because its go line may choose another toolchain.
	env := exec.CommandContext(ctx, "go", "env", "GOVERSION", "GOOS", "GOARCH", "CGO_ENABLED")
	env.Dir = moduleDir(root)
	out, err := env.Output()
	if err != nil {
		return "", fmt.Errorf("running go env: %w", err)
	}
	digest.Write(out)
	return "vaultdev-" + hex.EncodeToString(digest.Sum(nil))[:20] + exeSuffix(string(out)), nil
}

func exeSuffix(goEnv string) string {
	if strings.Contains(goEnv, "windows") {
		return ".exe"
	}
	return ""
}

// build compiles into a file of its own and renames it, so that nobody ever
// runs half a binary.
func build(ctx context.Context, dir, path string, progress io.Writer) error {
	tmp := fmt.Sprintf("%s.%d", path, os.Getpid())
	defer func() { _ = os.Remove(tmp) }()
	report := newReport(progress, time.Now())
	cmd := exec.CommandContext(ctx, "go", "build", "-v", buildFlags, "-o", tmp, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	cmd.Stdout, cmd.Stderr = report, report
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		return errors.Join(err, context.Cause(ctx), errors.New(report.lastLines()))
	}
	report.done()
	return os.Rename(tmp, path)
}
