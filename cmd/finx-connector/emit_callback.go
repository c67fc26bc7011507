package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/finx-connector/finx-connector/events"
)

// maxSecretFile bounds what is read as a code or a callback's address.
const maxSecretFile = 1 << 20

// callbackFlags are the fields of a callback as they can be given.
type callbackFlags struct {
	url, urlFile, code, codeFile, state, flowID string
	success, cancel                             bool
}

func (p *program) emitCallbackCommand() *cobra.Command {
	var in callbackFlags
	e := &emitter{p: p, typ: events.TypeCallbackReceived}
	c := &cobra.Command{
		Use:   "callback",
		Short: "Pass on what finX sent the browser back with (callback.received)",
		Long: `callback passes on what finX sent the browser back with: its whole address, or the
parameters one by one. Without --success or --cancel, a code means success.

The code is a secret, and so is an address that has one: whatever stands on the command
line can be read by every user of the machine (ps) and stays in the shell's history. Use
--url-file or --code-file, where - is standard input; --url and --code are for the sandbox.`,
		Example: `  finx-connector emit callback --url-file -  < callback-url.txt
  finx-connector emit callback --state 9b2f --code-file /run/secrets/code
  finx-connector emit callback --state 9b2f --cancel`,
	}
	e.command(c, func(ctx context.Context) (any, error) { return in.data(ctx, p.stdin, c.Flags().Changed) })
	f := c.Flags()
	f.StringVar(&in.url, "url", "", "`URL` of the callback, with its query; visible to others, see above")
	f.StringVar(&in.urlFile, "url-file", "", "`file` that holds it; - for standard input")
	f.StringVar(&in.state, "state", "", "state of the widget link")
	f.StringVar(&in.code, "code", "", "authorization code; visible to others, see above")
	f.StringVar(&in.codeFile, "code-file", "", "`file` that holds it; - for standard input")
	f.BoolVar(&in.success, "success", false, "whether the widget ended well (default: whether there is a code)")
	f.BoolVar(&in.cancel, "cancel", false, "the user cancelled")
	f.StringVar(&in.flowID, "flow-id", "", "flow_id of the callback")
	for _, one := range []string{"state", "code", "code-file", "success", "cancel", "flow-id"} {
		c.MarkFlagsMutuallyExclusive("url", one)
		c.MarkFlagsMutuallyExclusive("url-file", one)
	}
	c.MarkFlagsMutuallyExclusive("url", "url-file")
	c.MarkFlagsMutuallyExclusive("code", "code-file")
	c.MarkFlagsOneRequired("url", "url-file", "state")
	return c
}

// data returns the JSON of the callback, as upstream would send it.
func (in callbackFlags) data(ctx context.Context, stdin io.Reader, given func(flag string) bool) (any, error) {
	members := map[string]any{}
	add := func(name, value string) {
		if value != "" {
			members[name] = value
		}
	}
	for _, from := range []struct{ file, flag, member string }{{in.urlFile, "--url-file", "callback_url"}, {in.codeFile, "--code-file", "code"}} {
		if from.file == "" {
			continue
		}
		text, err := readSecret(ctx, from.file, stdin)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", from.flag, err)
		}
		add(from.member, text)
	}
	add("callback_url", in.url)
	add("code", in.code)
	add("state", in.state)
	add("flow_id", in.flowID)
	if given("success") {
		members["success"] = in.success
	}
	if in.cancel {
		members["cancel"] = true
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(members); err != nil {
		return nil, errors.New("encoding the callback failed") // without its text, which may quote the value
	}
	return json.RawMessage(bytes.TrimSpace(buf.Bytes())), nil
}

// readSecret reads a file, or standard input for "-", without the line break
// at its end.
func readSecret(ctx context.Context, file string, stdin io.Reader) (string, error) {
	r := stdin
	if file != "-" {
		f, err := os.Open(file) //nolint:gosec // the operator's own file
		if err != nil {
			return "", err
		}
		defer f.Close() //nolint:errcheck // read only
		r = f
	}
	data, err := readAll(ctx, io.LimitReader(r, maxSecretFile+1))
	if err != nil {
		return "", err
	}
	if len(data) > maxSecretFile {
		return "", fmt.Errorf("larger than %d bytes", maxSecretFile)
	}
	data = bytes.TrimRight(data, "\r\n")
	if len(data) == 0 {
		return "", errors.New("it is empty")
	}
	return string(data), nil
}

// readAll reads r, or ends with ctx: a terminal that nobody types at is read for
// ever, and Ctrl-C must work there.
func readAll(ctx context.Context, r io.Reader) ([]byte, error) {
	type result struct {
		data []byte
		err  error
	}
	read := make(chan result, 1)
	go func() {
		data, err := io.ReadAll(r)
		read <- result{data, err}
	}()
	select {
	case got := <-read:
		return got.data, got.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
