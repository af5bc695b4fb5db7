package check

import "time"

// Report is what a run leaves as build/chaos.json, but for what was done to its processes.
type Report struct {
	FinishedLeases int         `json:"finishedLeases"`
	Violations     []Violation `json:"violations"`

	Seed      uint64    `json:"seed"`
	StartedAt time.Time `json:"startedAt"`
	// DurationMs is how long clients and faults were at it; the time to settle comes on top.
	DurationMs int64 `json:"durationMs"`
	SettleMs   int64 `json:"settleMs"`
	API        int   `json:"api"`
	Workers    int   `json:"workers"`

	// Records is how many events the log has, Lost how many forks took away, Forks how often it forked.
	Records int `json:"records"`
	Lost    int `json:"lost"`
	Forks   int `json:"forks"`

	Calls Calls `json:"calls"`
	// Looked is how many things each rule looked at.
	Looked map[Rule]int `json:"looked"`
	// Errors are what went wrong with the run itself, so that it proves nothing.
	Errors []string `json:"errors,omitempty"`
}

// Calls counts what clients were told.
type Calls struct {
	Sent         int `json:"sent"`
	Acknowledged int `json:"acknowledged"`
	Refused      int `json:"refused"`
	// Unavailable were told to come again (5xx, 429), Unanswered got no answer.
	Unavailable int `json:"unavailable"`
	Unanswered  int `json:"unanswered"`
	Replayed    int `json:"replayed"`
}

// Fill puts into the report what follows from a history and what was found in it.
func (r *Report) Fill(h History, found Result) {
	r.FinishedLeases, r.Violations, r.Looked = found.Finished, found.Violations, found.Looked
	if r.Violations == nil {
		r.Violations = []Violation{} // the list is there although it is empty
	}
	r.Records, r.Lost = len(h.Log), len(h.Lost)
	r.Forks = 0
	for _, e := range h.Log {
		if e.Name == "LogForked" {
			r.Forks++
		}
	}
	r.Calls = Calls{Sent: len(h.Calls)}
	for _, c := range h.Calls {
		switch {
		case c.Status == 0:
			r.Calls.Unanswered++
		case c.Status >= 500 || c.Status == 429:
			r.Calls.Unavailable++
		case c.Status >= 400:
			r.Calls.Refused++
		default:
			r.Calls.Acknowledged++
		}
		if c.Replayed {
			r.Calls.Replayed++
		}
	}
}

// Failed reports whether the run is no proof: something broke a promise, or the run itself went wrong.
func (r *Report) Failed() bool { return len(r.Violations) > 0 || len(r.Errors) > 0 }
