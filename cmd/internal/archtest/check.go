package archtest

import (
	"fmt"
	"slices"
	"strings"
)

// Check returns a sentence for each import that breaks the table.
func Check(packages []Package) []string {
	var broken []string
	for _, p := range packages {
		from, ok := partOf(p.Rel())
		if !ok {
			broken = append(broken, fmt.Sprintf("%s is in no part of the import table (cmd/internal/archtest/rules.go)", p.Rel()))
			continue
		}
		for _, imported := range p.Imports {
			why := checkForeign(p.Rel(), from, imported)
			if rel, ours := within(imported); ours {
				why = checkOwn(p.Rel(), from, rel)
			}
			if why != "" {
				broken = append(broken, fmt.Sprintf("%s imports %s: %s", p.Rel(), imported, why))
			}
		}
	}
	return broken
}

// checkOwn judges an import of this module; "" is fine.
func checkOwn(importer string, from rule, imported string) string {
	to, ok := partOf(imported)
	if !ok {
		return "it is in no part of the import table"
	}
	if to.part != from.part && !slices.Contains(from.may, to.part) && !slices.Contains(from.may, "*") {
		return fmt.Sprintf("%s may import %s (%s)", from.part, orNothing(from.may), from.why)
	}
	for _, tree := range from.mayNot {
		if under(imported, tree) && !under(importer, tree) {
			return fmt.Sprintf("%s may not import %s (%s)", from.part, tree, from.why)
		}
	}
	return ""
}

// checkForeign judges an import from outside the module; "" is fine.
func checkForeign(importer string, from rule, imported string) string {
	for _, r := range reserved {
		if !under(imported, r.path) {
			continue
		}
		inside := func(tree string) bool { return under(importer, tree) }
		allowed := slices.ContainsFunc(r.only, inside) && !slices.ContainsFunc(r.not, inside)
		if !allowed {
			return fmt.Sprintf("only %s may (%s)", strings.Join(r.only, ", "), r.why)
		}
	}
	if few, ok := light[from.part]; ok && !standard(imported) && !slices.Contains(few, imported) {
		return fmt.Sprintf("%s may import from outside %s (%s)", from.part, orNothing(few), from.why)
	}
	return ""
}

// partOf finds the line of the table for a path within the module.
func partOf(rel string) (rule, bool) {
	var best rule
	for _, r := range rules {
		if under(rel, r.part) && len(r.part) > len(best.part) {
			best = r
		}
	}
	return best, best.part != ""
}

// standard says that path is of the standard library: its first element has no dot.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

func orNothing(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return "only " + strings.Join(names, ", ")
}
