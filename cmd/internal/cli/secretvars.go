package cli

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

// secretVarFlag adds --secret-var.
func secretVarFlag(f *pflag.FlagSet) *[]string {
	return f.StringArray("secret-var", nil, "`NAME=SECRET` is in the environment of every command with the value of a secret, by name or id; NAME=SECRET@N means version N (repeatable)")
}

// withSecrets are variables of both kinds.
func (r *root) withSecrets(ctx context.Context, c *client.Client, vars map[string]string, pairs []string) (map[string]wire.EnvValue, error) {
	refs, err := r.secretVars(ctx, c, pairs)
	if err != nil {
		return nil, err
	}
	out := wire.PlainVars(vars)
	for name, ref := range refs {
		if _, both := out[name]; both {
			return nil, givenTwice(name)
		}
		if out == nil {
			out = map[string]wire.EnvValue{}
		}
		out[name] = wire.EnvValue{SecretRef: &ref}
	}
	return out, nil
}

// patchSecrets adds references to the variables of a merge patch.
func (r *root) patchSecrets(ctx context.Context, c *client.Client, patch map[string]any, pairs []string) error {
	refs, err := r.secretVars(ctx, c, pairs)
	if err != nil || len(refs) == 0 {
		return err
	}
	vars, ok := patch["envVars"].(map[string]any)
	if !ok {
		vars = map[string]any{}
		patch["envVars"] = vars
	}
	for name, ref := range refs {
		if _, both := vars[name]; both {
			return givenTwice(name)
		}
		vars[name] = ref
	}
	return nil
}

func givenTwice(name string) error {
	return usagef("secret-var: %q is given twice", name).mendBy("give it once")
}

// secretVars finds the secrets that --secret-var names.
func (r *root) secretVars(ctx context.Context, c *client.Client, pairs []string) (map[string]wire.SecretRef, error) {
	refs := map[string]wire.SecretRef{}
	for _, pair := range pairs {
		name, secret, _ := strings.Cut(pair, "=")
		if name == "" || secret == "" {
			return nil, usagef("secret-var: %q is not NAME=SECRET", pair).mendBy("give the name of a variable and the name or id of a secret, such as TOKEN=api-token")
		}
		if _, twice := refs[name]; twice {
			return nil, givenTwice(name)
		}
		version := 0
		if at := strings.LastIndexByte(secret, '@'); at > 0 {
			if n, err := strconv.ParseInt(secret[at+1:], 10, 32); err == nil && n > 0 {
				secret, version = secret[:at], int(n)
			}
		}
		found, err := r.secret(ctx, c, secret)
		if err != nil {
			return nil, err
		}
		refs[name] = wire.SecretRef{SecretID: found.ID, Version: version}
	}
	return refs, nil
}
