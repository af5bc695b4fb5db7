package seeds

import "github.com/tenure-dev/tenure/cmd/internal/sim/still"

// Mutant is a bug that the simulation must find.
type Mutant struct {
	Name string
	// Breaks says what goes wrong with it.
	Breaks string
	Edits  []still.Edit
}

// Mutants are the bugs, each of the engine's sources.
var Mutants = []Mutant{}
