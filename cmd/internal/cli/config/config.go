// Package config finds the CLI's settings. One rule holds for all of them: a flag wins over its variable TENURE_<FLAG>,
// that over the user's context file, that over the default. Keys are secrets and never come by flag, where every user of
// the machine could read them.
package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
)

// Context is the user's context file: what holds for every call unless a variable or a flag says otherwise.
type Context struct {
	Server     string `json:"server,omitempty"`
	Company    string `json:"company,omitempty"`
	Output     string `json:"output,omitempty"`
	DataDir    string `json:"dataDir,omitempty"`
	APIKeyFile string `json:"apiKeyFile,omitempty"`
}

// setting answers with what the file says about a flag.
func (c Context) setting(flag string) string {
	switch flag {
	case "server":
		return c.Server
	case "company":
		return c.Company
	case "output":
		return c.Output
	case "data-dir":
		return c.DataDir
	}
	return ""
}

// Settings are the variables and the context file of one call.
type Settings struct {
	env     func(string) string
	context Context
	// path is the file that was read; "" when there is none.
	path string
}

// Load reads the context file: TENURE_CONFIG, else tenure/config.json in $XDG_CONFIG_HOME or ~/.config. A file that is not
// there is no error, unless TENURE_CONFIG names it.
func Load(env func(string) string) (*Settings, error) {
	s := &Settings{env: env}
	path, named := env("TENURE_CONFIG"), true
	if path == "" {
		path, named = userFile(env, "XDG_CONFIG_HOME", ".config", "config.json"), false
	}
	if path == "" {
		return s, nil
	}
	data, err := os.ReadFile(path)
	if !named && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the context file: %w; write it, or unset TENURE_CONFIG", err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s.context); err != nil {
		return nil, fmt.Errorf("context file %s: %w; it may have server, company, output, dataDir and apiKeyFile", path, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("context file %s: something follows the first JSON object; leave one object", path)
	}
	s.path = path
	return s, nil
}

// Variable is the name of the variable that stands for a flag.
func Variable(flag string) string {
	return "TENURE_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Apply gives every named flag that the command line did not set the value of its variable or of the context file. The
// flag does not count as changed afterwards, so that a caller can still tell what was typed.
func (s *Settings) Apply(flags *pflag.FlagSet, names ...string) error {
	var problems []error
	for _, name := range names {
		f := flags.Lookup(name)
		if f == nil || f.Changed {
			continue
		}
		value, from := s.env(Variable(name)), Variable(name)
		if value == "" {
			value, from = s.context.setting(name), s.path
		}
		if value == "" {
			continue
		}
		if err := f.Value.Set(value); err != nil {
			// The parser's error quotes the value, which may be a secret; so only the name is told.
			problems = append(problems, fmt.Errorf("%s: not a valid %s for --%s; correct or unset it", from, f.Value.Type(), name))
		}
	}
	return errors.Join(problems...)
}

// Get is the setting of a flag by variable or context file; "" when neither has it.
func (s *Settings) Get(flag string) string {
	if v := s.env(Variable(flag)); v != "" {
		return v
	}
	return s.context.setting(flag)
}

// userFile is tenure/name in the directory that the variable names, else below HOME; "" without either. A relative
// directory is ignored, as the XDG specification asks.
func userFile(env func(string) string, variable, below, name string) string {
	if dir := env(variable); filepath.IsAbs(dir) {
		return filepath.Join(dir, "tenure", name)
	}
	if home := env("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, below, "tenure", name)
	}
	return ""
}
