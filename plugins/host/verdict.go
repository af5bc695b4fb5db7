package host

import (
	"regexp"
	"strings"

	"github.com/tenure-dev/tenure/drivers"
)

// fieldText is how a worker of ours writes a problem: a field, what is wrong, and in parentheses what to do.
var fieldText = regexp.MustCompile(`^(config(?:[.\[][^:\s]+)?): (.*?)(?: \(([^()]+)\))?$`)

// configError makes fields of what a worker says of a configuration.
func (w *worker) configError(texts []string) error {
	var problems []drivers.FieldProblem
	for _, text := range texts[:min(len(texts), mostSaid)] {
		text = w.child.secrets.quote(strings.TrimSpace(text), 1000)
		p := drivers.FieldProblem{Field: "config", Problem: text, Remediation: "correct it as the plugin says"}
		if m := fieldText.FindStringSubmatch(text); m != nil {
			p.Field, p.Problem = m[1], m[2]
			if m[3] != "" {
				p.Remediation = m[3]
			}
		}
		problems = append(problems, p)
	}
	if len(problems) == 0 {
		problems = append(problems, drivers.FieldProblem{
			Field: "config", Problem: "is refused by the plugin without a reason", Remediation: "see the plugin's documentation",
		})
	}
	return &drivers.ConfigError{Problems: problems}
}
