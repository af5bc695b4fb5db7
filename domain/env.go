package domain

import (
	"maps"
	"slices"
	"strings"
)

// EnvName is a variable whose value is not in the log.
type EnvName struct {
	Name string `json:"name"`
	// Hash is SHA-256 over a random salt and the value, in hexadecimal; the salt lies beside the value and goes with it.
	Hash string `json:"hash"`
}

// CheckEnvName refuses a name that no environment can hold. Whatever else the name is, such as "A-B", "a.b", "1X" or "A B",
// arrives exactly. field is the JSON field that holds the variables.
func CheckEnvName(field, name string) error {
	at := field + "." + name
	const mend = "give a name that is not empty and has neither '=' nor NUL in it"
	switch {
	case name == "":
		return Refuse(KindInvalid, "invalid_env_name", "a variable has an empty name").On(at).Mend(mend)
	case strings.Contains(name, "="):
		return Refuse(KindInvalid, "invalid_env_name", "the name %q holds '='", name).On(at).Mend(mend)
	case strings.Contains(name, "\x00"):
		return Refuse(KindInvalid, "invalid_env_name", "the name %q holds a NUL byte", name).On(at).Mend(mend)
	}
	return CheckArgument(at, name)
}

// CheckEnvNames refuses names that no environment can hold, or that are given twice.
func CheckEnvNames(field string, env []EnvName) error {
	seen := make(map[string]bool, len(env))
	for _, e := range env {
		if err := CheckEnvName(field, e.Name); err != nil {
			return err
		}
		if seen[e.Name] {
			return Refuse(KindInvalid, "duplicate_env_name", "the variable %q is given twice", e.Name).On(field + "." + e.Name).
				Mend("give it once")
		}
		seen[e.Name] = true
	}
	return nil
}

// CheckEnvVars refuses variables that no environment can hold. The refusal names the variable and never its value.
func CheckEnvVars(field string, vars map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		if err := CheckEnvName(field, name); err != nil {
			return err
		}
		if err := CheckArgument(field+"."+name, name+"="+vars[name]); err != nil {
			return err
		}
	}
	return nil
}

// CheckEnvValues is [CheckEnvVars] for variables that may be references to secrets.
func CheckEnvValues(field string, vars map[string]EnvValue) error {
	plain := make(map[string]string, len(vars))
	for name, v := range vars {
		plain[name] = v.Plain
	}
	return CheckEnvVars(field, plain)
}
