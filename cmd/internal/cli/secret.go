package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

func (r *root) secretGroup() *cobra.Command {
	return r.group("secret", "Secrets are values that no answer, event or log ever shows",
		[2]string{"tenure secret add deploy-key --from-file id_ed25519", "tenure secret list"},
		r.secretAdd(), r.secretList(), r.secretShow(), r.secretRotate(), r.secretDisable(), r.secretEnable(), r.secretDestroy(), r.secretReads())
}

var secretView = view[wire.Secret]{
	name: func(s wire.Secret) string { return s.ID.String() },
	columns: []column[wire.Secret]{
		{title: "NAME", value: func(s wire.Secret, _ cell) string { return s.Name }},
		{title: "STATUS", value: func(s wire.Secret, _ cell) string { return s.Status }},
		{title: "LATEST", value: func(s wire.Secret, _ cell) string { return number(s.LatestVersion) }},
		{title: "CHANGED", value: func(s wire.Secret, how cell) string { return how.time(s.UpdatedAt) }},
		{title: "ID", value: func(s wire.Secret, _ cell) string { return s.ID.String() }},
		{title: "COMPANY", wide: true, value: func(s wire.Secret, _ cell) string { return s.CompanyID.String() }},
		{title: "DESCRIPTION", wide: true, value: func(s wire.Secret, _ cell) string { return s.Description }},
		{title: "VERSIONS", wide: true, value: func(s wire.Secret, _ cell) string {
			versions := make([]string, len(s.Versions))
			for i, v := range s.Versions {
				versions[i] = fmt.Sprintf("%d %s", v.Version, v.Status)
			}
			return strings.Join(versions, ", ")
		}},
	},
}

var secretReadView = view[wire.SecretRead]{
	name: func(x wire.SecretRead) string { return number(x.Position) },
	columns: []column[wire.SecretRead]{
		{title: "READ", value: func(x wire.SecretRead, how cell) string { return how.time(x.ReadAt) }},
		{title: "VERSION", value: func(x wire.SecretRead, _ cell) string { return number(x.Version) }},
		{title: "PURPOSE", value: func(x wire.SecretRead, _ cell) string { return x.Purpose }},
		{title: "LEASE", value: func(x wire.SecretRead, _ cell) string { return idText(x.LeaseID) }},
		{title: "EXEC", wide: true, value: func(x wire.SecretRead, _ cell) string { return idText(x.ExecID) }},
		{title: "ENVIRONMENT", wide: true, value: func(x wire.SecretRead, _ cell) string { return idText(x.EnvironmentID) }},
		{title: "WORKER", wide: true, value: func(x wire.SecretRead, _ cell) string { return idText(x.WorkerID) }},
		{title: "POSITION", wide: true, value: func(x wire.SecretRead, _ cell) string { return number(x.Position) }},
	},
}

func idText(id *uuid.UUID) string {
	if id == nil {
		return ""
	}
	return id.String()
}

// secretsOf reads pages of a company's secrets.
func secretsOf(c *client.Client, company uuid.UUID) func(context.Context, ...client.CallOption) (wire.List[wire.Secret], error) {
	return func(ctx context.Context, o ...client.CallOption) (wire.List[wire.Secret], error) {
		return c.Secrets(ctx, company, o...)
	}
}

// secret finds a secret by id, else by name within the company. A destroyed one gives way to one that is there.
func (r *root) secret(ctx context.Context, c *client.Client, name string) (wire.Secret, error) {
	if id, err := uuid.Parse(name); err == nil {
		return c.Secret(ctx, id)
	}
	company, err := r.company(ctx, c)
	if err != nil {
		return wire.Secret{}, err
	}
	secrets, err := all(ctx, secretsOf(c, company.ID))
	if err != nil {
		return wire.Secret{}, err
	}
	var alive []wire.Secret
	for _, s := range secrets {
		if s.Name == name && s.Status != wire.SecretDestroyed {
			alive = append(alive, s)
		}
	}
	if len(alive) > 0 {
		secrets = alive
	}
	return pick("secret", name, secrets, func(s wire.Secret) (uuid.UUID, string) { return s.ID, s.Name })
}

// fromFileFlag adds --from-file. A value is no flag: every user of the machine could read it.
func fromFileFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("from-file", "", "`file` that holds the value, byte for byte (default: stdin, less one line break at its end; a terminal is asked)")
}

// secretValue reads a value: from a file, from stdin, or typed on a terminal that does not show it.
func (r *root) secretValue(ctx context.Context, file string) (string, error) {
	if file != "" {
		raw, err := os.ReadFile(file)
		if err != nil {
			return "", usagef("from-file: %s", err)
		}
		return string(raw), nil
	}
	raw, err := r.readValue(ctx)
	if err != nil {
		return "", fmt.Errorf("read the value: %w", err)
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r")
	if value == "" {
		return "", usagef("there is no value on stdin").mendBy("pipe the value in, or give --from-file FILE")
	}
	return value, nil
}

func (r *root) readValue(ctx context.Context) ([]byte, error) {
	if f, ok := r.Stdin.(*os.File); ok && isTerminal(f) {
		return r.typed(ctx, int(f.Fd()))
	}
	return io.ReadAll(io.LimitReader(r.Stdin, maxInput))
}

// typed reads a line from a terminal that does not show it. Whoever interrupts it gets the terminal back as it was.
func (r *root) typed(ctx context.Context, fd int) ([]byte, error) {
	before, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	fmt.Fprint(r.Stderr, "value (not shown): ")
	defer fmt.Fprintln(r.Stderr)
	type line struct {
		text []byte
		err  error
	}
	read := make(chan line, 1)
	go func() { // a read of a terminal cannot be called off; it ends with the process at the latest
		text, err := term.ReadPassword(fd)
		read <- line{text, err}
	}()
	select {
	case l := <-read:
		return l.text, l.err
	case <-ctx.Done():
		return nil, errors.Join(context.Cause(ctx), term.Restore(fd, before))
	}
}

// secretVersion is the VERSION argument, a whole number.
func secretVersion(s string) (int, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 1 {
		return 0, usagef("VERSION: %q is not the number of a version", s).mendBy("give a whole number from 1; tenure secret show NAME -o wide has them")
	}
	return int(n), nil
}
