package cli_test

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/wire"
)

var installation = uuid.MustParse("00000000-0000-4000-8000-0000000000aa")

// log has forked once there is a company of that name, until it is adopted.
func (f *fake) log() wire.Log {
	l := wire.Log{Installation: installation, Epoch: 1, State: wire.LogInForce, Position: 100, Forks: []wire.LogFork{}, Standbys: 1, SynchronousStandbys: "one"}
	if !slices.ContainsFunc(f.companies, func(c *wire.Company) bool { return c.Name == "forked" }) {
		return l
	}
	l.Epoch, l.State, l.LostAtMost, l.SynchronousStandbys = 2, wire.LogForked, 5, ""
	l.Forks = []wire.LogFork{{
		Findings: []string{"lost", "timeline"}, FromEpoch: 1, Head: 99, Kept: 99, LostAtMost: 5,
		Remembered: &wire.LogMark{Epoch: 1, Position: 104, Hash: "aa"},
	}}
	if f.adopted != nil {
		l.State, l.Adopted = wire.LogInForce, &wire.LogAdopted{Reason: f.adopted.Reason, LostAtMost: 5}
	}
	return l
}

func (f *fake) showLog(*http.Request) (int, any) { return http.StatusOK, f.log() }

func (f *fake) adoptLog(r *http.Request) (int, any) {
	var in wire.AdoptLog
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return problem(http.StatusBadRequest, "invalid_body", err.Error())
	}
	l := f.log()
	switch {
	case l.State != wire.LogForked && !in.Anyway:
		return problem(http.StatusConflict, "log_not_forked", "the log has not forked")
	case in.Epoch != l.Epoch:
		return problem(http.StatusConflict, "log_forked_again", "the log has forked again")
	}
	f.adopted = &in
	return http.StatusOK, f.log()
}
