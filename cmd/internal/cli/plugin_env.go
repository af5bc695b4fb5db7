package cli

import "strings"

// parsePluginEnv reads --plugin-env.
func parsePluginEnv(given []string, env func(string) string) (map[string]map[string]string, error) {
	out := map[string]map[string]string{}
	for _, g := range given {
		key, rest, _ := strings.Cut(g, "=")
		name, value, hasValue := strings.Cut(rest, "=")
		if key == "" || name == "" {
			return nil, usagef("plugin-env: %q names no variable of a plugin", key).mendBy("give PLUGIN=NAME, or PLUGIN=NAME=VALUE")
		}
		if !hasValue {
			if value = env(name); value == "" {
				return nil, usagef("plugin-env: the server has no variable %s", name).mendBy("set it, or leave --plugin-env %s=%s out", key, name)
			}
		}
		if out[key] == nil {
			out[key] = map[string]string{}
		}
		out[key][name] = value
	}
	return out, nil
}
