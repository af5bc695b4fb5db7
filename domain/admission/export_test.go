package admission

// KeysKnown is how many keys are remembered.
func KeysKnown(s State) int {
	n := 0
	for _, r := range s.line.ranks {
		n += len(r.of)
	}
	return n
}
