package admission

import "github.com/tenure-dev/tenure/domain"

// Class is how urgent a request is. Whoever waits is granted before all of a lower class, but for the bound of overtaking.
type Class string

// The classes, the most urgent first.
const (
	ClassHigh   Class = "high"
	ClassNormal Class = "normal"
	ClassLow    Class = "low"
)

// classes has them in order; the place of a class is its rank.
var classes = [...]Class{ClassHigh, ClassNormal, ClassLow}

func (c Class) String() string { return string(c) }

// rank is the class's place; what is no class, or "", counts as normal, so that a fact without one can be replayed.
func (c Class) rank() int {
	switch c {
	case ClassHigh:
		return 0
	case ClassLow:
		return 2
	case ClassNormal:
	}
	return 1
}

// MaxWeight bounds the weight of a request.
const MaxWeight = 100

// Standing is by what a request is put in order.
type Standing struct {
	// Class is normal if it is "".
	Class Class `json:"class,omitempty"`
	// Key names whom it counts for, such as an agent: within a class the keys share what is granted by weight.
	Key string `json:"fairnessKey,omitempty"`
	// Weight is the key's share for this request, 1 to [MaxWeight]; 1 if it is 0.
	Weight int `json:"weight,omitempty"`
}

// CheckStanding refuses what no request can have.
func CheckStanding(s Standing) error {
	switch s.Class {
	case "", ClassHigh, ClassNormal, ClassLow:
	default:
		return domain.Refuse(domain.KindInvalid, "unknown_priority", "%q is no priority", domain.Clean(string(s.Class), domain.MaxName)).On("priority").
			Mend("use %s, %s or %s, or leave it out for %s", ClassHigh, ClassNormal, ClassLow, ClassNormal)
	}
	if s.Weight < 0 || s.Weight > MaxWeight {
		return domain.Refuse(domain.KindInvalid, "invalid_weight", "%d is not between 1 and %d", s.Weight, MaxWeight).On("weight").
			Mend("give a whole number from 1 to %d, or leave it out for 1", MaxWeight)
	}
	return domain.CheckLine("fairnessKey", s.Key, domain.MaxReference)
}

// Rule is why somebody was granted before the others.
type Rule string

// The rules. Each says by what the granted one went before the next in line.
const (
	// RuleFree: there was room and nobody waited.
	RuleFree Rule = "free"
	// RuleKept: a runtime of its scope was kept, and nobody waited.
	RuleKept Rule = "kept"
	// RuleOnly: nobody else waited.
	RuleOnly Rule = "only"
	// RuleClass: the next in line is of a lower class.
	RuleClass Rule = "class"
	// RuleFairness: of those who waited in its class, its key had got the least for its weight.
	RuleFairness Rule = "fairness"
	// RuleAge: nothing but age set it apart from the next in line.
	RuleAge Rule = "age"
	// RuleBound: it waited longest, and had been overtaken as often as anybody may be.
	RuleBound Rule = "bound"
)

func (r Rule) String() string { return string(r) }
