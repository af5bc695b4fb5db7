package check

// judge is a history on its way through the rules.
type judge struct {
	History
	rule       Rule
	violations []Violation
	looked     map[Rule]int
	finished   int
}

func newJudge(h History) *judge { return &judge{History: h, looked: map[Rule]int{}} }
