package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"
)

// varFlag adds --var. A name without a value takes the value from the caller's own environment, so that a secret need not
// stand on a command line, where every user of the machine can read it.
func (r *root) varFlag(f *pflag.FlagSet, what string) *[]string {
	return f.StringArray("var", nil, "`NAME=VALUE` "+what+"; NAME alone takes the value of this process's variable (repeatable)")
}

// variables reads the values of --var. A problem names the variable and never its value.
func (r *root) variables(pairs []string) (map[string]string, error) {
	vars := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		name, value, given := strings.Cut(pair, "=")
		if name == "" {
			return nil, usagef("var: a variable has no name").mendBy("give --var NAME=VALUE")
		}
		if _, twice := vars[name]; twice {
			return nil, usagef("var: %q is given twice", name).mendBy("give it once")
		}
		if !given {
			if value = r.Env(name); value == "" {
				return nil, usagef("var: %q has no value, and this process has no such variable", name).mendBy("give --var %s=VALUE", name)
			}
		}
		vars[name] = value
	}
	if len(vars) == 0 {
		return nil, nil
	}
	return vars, nil
}

// jsonValue reads a flag that holds a JSON object: itself, @FILE, or - for stdin.
func (r *root) jsonValue(flag, value string) (json.RawMessage, error) {
	raw := []byte(value)
	var err error
	switch {
	case value == "":
		return nil, nil
	case value == "-":
		raw, err = io.ReadAll(io.LimitReader(r.Stdin, maxInput))
	case strings.HasPrefix(value, "@"):
		raw, err = os.ReadFile(value[1:])
	}
	if err != nil {
		return nil, usagef("%s: %s", flag, err)
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil || object == nil {
		return nil, usagef("%s: not a JSON object", flag).mendBy("give --%s '{...}', --%s @FILE, or --%s - for stdin", flag, flag, flag)
	}
	return raw, nil
}

// maxInput is what the server takes as input of a command; more is not read into memory.
const maxInput = 8 << 20

// stdinFlag adds --stdin.
func stdinFlag(f *pflag.FlagSet) *bool {
	return f.BoolP("stdin", "i", false, "pass stdin to the command; a pipe or a file is passed without it, --stdin=false passes nothing")
}

// input reads the command's whole stdin before anything is asked for, so that no lease waits for who writes it.
func (r *root) input(f *pflag.FlagSet) ([]byte, error) {
	wanted, err := f.GetBool("stdin")
	if err != nil {
		return nil, fmt.Errorf("read the flag: %w", err)
	}
	if !f.Changed("stdin") {
		wanted = isPiped(r.Stdin)
	}
	if !wanted {
		return nil, nil
	}
	data, err := io.ReadAll(io.LimitReader(r.Stdin, maxInput+1))
	if err != nil {
		return nil, fmt.Errorf("read stdin: %w", err)
	}
	if len(data) > maxInput {
		return nil, usagef("stdin: more than %d MiB", maxInput>>20).mendBy("bring large input in as a file")
	}
	return data, nil
}

// isPiped reports whether somebody wrote or will write to stdin: a pipe or a file. A terminal, /dev/null or a socket that a
// service manager left open is nobody.
func isPiped(in io.Reader) bool {
	f, ok := in.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && (info.Mode().IsRegular() || info.Mode()&os.ModeNamedPipe != 0)
}
