package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"slices"
	"strconv"
)

// watch says by import path which names of a package are looked for.
type watch map[string]func(name string) bool

func oneOf(names ...string) func(string) bool {
	return func(name string) bool { return slices.Contains(names, name) }
}

func noneOf(names ...string) func(string) bool {
	return func(name string) bool { return !slices.Contains(names, name) }
}

// CheckRouter finds uses of Watermill's router outside its part.
func CheckRouter(packages []Package) ([]string, error) {
	var broken []string
	for _, p := range packages {
		if under(p.Rel(), routerPart) || !slices.Contains(p.Imports, watermillMessage) {
			continue
		}
		uses, err := packageUses(p, watch{watermillMessage: routerNames})
		if err != nil {
			return nil, err
		}
		for _, use := range uses {
			broken = append(broken, fmt.Sprintf("%s: %s: the Watermill router is for %s only", p.Rel(), use, routerPart))
		}
	}
	return broken, nil
}

// packageUses collects the uses in all files of p that are not tests.
func packageUses(p Package, names watch) ([]string, error) {
	var found []string
	for _, name := range p.GoFiles {
		uses, err := fileUses(filepath.Join(p.Dir, name), nil, names)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", p.Rel(), err)
		}
		found = append(found, uses...)
	}
	return found, nil
}

// fileUses names every use of a watched name in a file as "file:line uses time.Now". src replaces the file's content in
// tests. A dot import of a watched package counts as a use, since it hides what it uses.
func fileUses(file string, src any, names watch) ([]string, error) {
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, file, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	var found []string
	note := func(pos token.Pos, use string) {
		found = append(found, fmt.Sprintf("%s:%d uses %s", filepath.Base(file), fset.Position(pos).Line, use))
	}

	watched := map[string]string{} // local name → import path
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, fmt.Errorf("parse import %s: %w", spec.Path.Value, err)
		}
		if names[imported] == nil {
			continue
		}
		local := path.Base(imported)
		if spec.Name != nil {
			local = spec.Name.Name
		}
		if local == "." {
			note(spec.Pos(), "a dot import of "+imported)
			continue
		}
		watched[local] = imported
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && watched[x.Name] != "" && names[watched[x.Name]](sel.Sel.Name) {
			note(sel.Pos(), path.Base(watched[x.Name])+"."+sel.Sel.Name)
		}
		return true
	})
	return found, nil
}
