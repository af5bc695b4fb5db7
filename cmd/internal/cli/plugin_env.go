package cli

import "strings"

// varsOf are variables by the key of the plugin that they are for.
type varsOf map[string]map[string]string

func (v varsOf) set(plugin, name, value string) {
	if v[plugin] == nil {
		v[plugin] = map[string]string{}
	}
	v[plugin][name] = value
}

// parsePluginEnv reads --plugin-env. A value that stands on the command line is no secret; one of the server's variables may be.
func parsePluginEnv(given []string, env func(string) string) (open, secret varsOf, err error) {
	open, secret = varsOf{}, varsOf{}
	for _, g := range given {
		key, rest, _ := strings.Cut(g, "=")
		name, value, hasValue := strings.Cut(rest, "=")
		switch {
		case key == "" || name == "":
			return nil, nil, usagef("plugin-env: %q names no variable of a plugin", key).mendBy("give PLUGIN=NAME, or PLUGIN=NAME=VALUE")
		case hasValue:
			open.set(key, name, value)
		case env(name) == "":
			return nil, nil, usagef("plugin-env: the server has no variable %s", name).mendBy("set it, or leave --plugin-env %s=%s out", key, name)
		default:
			secret.set(key, name, env(name))
		}
	}
	return open, secret, nil
}
