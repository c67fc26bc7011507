package custody

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/finx-connector/finx-connector/internal/fault"
)

// Spool keeps sealed answers as files of one directory. They are not synced to
// the disk: they outlive the process, not a loss of power. That is what they are
// for, and it costs microseconds where a sync would cost milliseconds.
type Spool struct{ dir string }

const (
	spoolSuffix = ".sealed"
	spoolHalf   = ".half" // being written, or left so by a process that died
)

// NewSpool uses dir, which is made when it is missing, readable by its owner only.
func NewSpool(dir string) (*Spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("custody: making the spool directory: %w", err)
	}
	probe, err := os.CreateTemp(dir, "probe*"+spoolHalf)
	if err != nil {
		return nil, fmt.Errorf("custody: trying the spool directory: %w", err)
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return nil, fmt.Errorf("custody: trying the spool directory: %w", err)
	}
	return &Spool{dir}, sweepHalves(dir)
}

// halfLife is after what time a half-written copy is nobody's work any more.
const halfLife = time.Hour

// sweepHalves removes what processes left half written when they died.
func sweepHalves(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("custody: listing the spool: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !strings.HasSuffix(e.Name(), spoolHalf) || time.Since(info.ModTime()) < halfLife {
			continue // gone, whole, or just being written
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("custody: clearing the spool: %w", err)
		}
	}
	return nil
}

func (s *Spool) path(key string) (string, error) {
	if key != filepath.Base(key) || strings.HasPrefix(key, ".") {
		return "", fault.Permanent(fault.Rejected, errors.New("custody: impossible key for the spool"))
	}
	return filepath.Join(s.dir, key+spoolSuffix), nil
}

// Put writes a copy whole or not at all.
func (s *Spool) Put(_ context.Context, key string, sealed []byte) error {
	path, err := s.path(key)
	if err != nil {
		return err
	}
	half := strings.TrimSuffix(path, spoolSuffix) + spoolHalf
	if err := os.WriteFile(half, sealed, 0o600); err != nil {
		return fmt.Errorf("custody: spooling an answer: %w", err)
	}
	if err := os.Rename(half, path); err != nil {
		return fmt.Errorf("custody: spooling an answer: %w", err)
	}
	return nil
}

// Get reads a copy.
func (s *Spool) Get(_ context.Context, key string) (sealed []byte, found bool, err error) {
	path, err := s.path(key)
	if err != nil {
		return nil, false, err
	}
	sealed, err = os.ReadFile(path) //nolint:gosec // path checks the key: it names a file of this directory
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("custody: reading the spool: %w", err)
	}
	return sealed, true, nil
}

// Delete removes a copy.
func (s *Spool) Delete(_ context.Context, key string) error {
	path, err := s.path(key)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("custody: clearing the spool: %w", err)
	}
	return nil
}

// Keys lists the copies.
func (s *Spool) Keys(context.Context) ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("custody: listing the spool: %w", err)
	}
	var keys []string
	for _, e := range entries {
		if key, ok := strings.CutSuffix(e.Name(), spoolSuffix); ok {
			keys = append(keys, key)
		}
	}
	return keys, nil
}
