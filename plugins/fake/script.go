package fake

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tenure-dev/tenure/drivers"
)

// Verb is what a step waits for.
type Verb string

// The verbs.
const (
	VerbStart   Verb = "start"
	VerbAcquire Verb = "acquire"
	VerbRelease Verb = "release"
	VerbExec    Verb = "exec"
	VerbProbe   Verb = "probe"
	VerbList    Verb = "list"
	VerbKeep    Verb = "keep"
	VerbResume  Verb = "resume"
)

// Action is what a step does.
type Action string

// The actions; the package comment says what each does.
const (
	ActionDelay   Action = "delay"
	ActionFail    Action = "fail"
	ActionCrash   Action = "crash"
	ActionLate    Action = "late"
	ActionJunk    Action = "junk"
	ActionSilent  Action = "silent"
	ActionPartial Action = "partial"
	ActionSwell   Action = "swell"
)

// Place is where in a call a step happens.
type Place string

// The places, in order.
const (
	PlaceBefore Place = "before"
	PlaceAfter  Place = "after"
	PlaceReply  Place = "reply"
)

// Step is one line of a script; see the package comment.
type Step struct {
	Verb    Verb   `json:"verb"`
	Attempt int    `json:"attempt,omitempty"`
	Times   int    `json:"times,omitempty"`
	At      Place  `json:"at,omitempty"`
	Action  Action `json:"action"`

	Ms           int64           `json:"ms,omitempty"`
	Deaf         bool            `json:"deaf,omitempty"`
	Outcome      drivers.Outcome `json:"outcome,omitempty"`
	Code         string          `json:"code,omitempty"`
	Step         string          `json:"step,omitempty"`
	Message      string          `json:"message,omitempty"`
	Remediation  string          `json:"remediation,omitempty"`
	Raw          bool            `json:"raw,omitempty"`
	Bytes        int             `json:"bytes,omitempty"`
	DestroyFails int             `json:"destroyFails,omitempty"`
	ExitCode     int             `json:"exitCode,omitempty"`
}

// maxBytes bounds what a step may write or reply.
const maxBytes = 2 << 30

func (s Step) delay() time.Duration { return time.Duration(s.Ms) * time.Millisecond }

// place is where the step happens.
func (s Step) place() Place {
	switch s.Action {
	case ActionLate:
		return PlaceReply
	case ActionPartial, ActionSwell:
		return PlaceAfter
	case ActionDelay, ActionFail, ActionCrash, ActionJunk, ActionSilent:
		if s.At != "" {
			return s.At
		}
	}
	return PlaceBefore
}

// validate says what is wrong with the step; "" is nothing.
func (s Step) validate() string {
	switch {
	case !slices.Contains([]Verb{VerbStart, VerbAcquire, VerbRelease, VerbExec, VerbProbe, VerbList, VerbKeep, VerbResume}, s.Verb):
		return fmt.Sprintf("verb %q is none of acquire, release, keep, resume, exec, probe, list and start", s.Verb)
	case !slices.Contains([]Action{
		ActionDelay, ActionFail, ActionCrash, ActionLate, ActionJunk, ActionSilent, ActionPartial, ActionSwell,
	}, s.Action):
		return fmt.Sprintf("action %q is none of delay, fail, crash, late, junk, silent, partial and swell", s.Action)
	case !slices.Contains([]Place{"", PlaceBefore, PlaceAfter, PlaceReply}, s.At):
		return fmt.Sprintf("at %q is none of before, after and reply", s.At)
	case !slices.Contains([]drivers.Outcome{"", drivers.OutcomeRetryable, drivers.OutcomeDefinite, drivers.OutcomeAmbiguous}, s.Outcome):
		return fmt.Sprintf("outcome %q is none of retryable, definite and ambiguous", s.Outcome)
	case (s.Action == ActionPartial || s.Action == ActionSwell) && s.Verb != VerbAcquire:
		return fmt.Sprintf("action %s is for acquire only", s.Action)
	case s.Attempt < 0, s.Times < 0, s.Ms < 0, s.DestroyFails < 0, s.Bytes < 0, s.ExitCode < 0:
		return "a number is negative"
	case s.Bytes > maxBytes:
		return fmt.Sprintf("bytes is more than %d", maxBytes)
	}
	return ""
}

// parseScript is strict: a field that is unknown is named.
func parseScript(raw []byte) ([]Step, error) {
	var rows []json.RawMessage
	if err := json.Unmarshal(raw, &rows); err != nil {
		return nil, errors.New("is not a list of steps")
	}
	steps := make([]Step, 0, len(rows))
	for i, row := range rows {
		var s Step
		d := json.NewDecoder(bytes.NewReader(row))
		d.DisallowUnknownFields()
		if err := d.Decode(&s); err != nil {
			return nil, fmt.Errorf("step %d: %w", i, err)
		}
		if problem := s.validate(); problem != "" {
			return nil, fmt.Errorf("step %d: %s", i, problem)
		}
		steps = append(steps, s)
	}
	return steps, nil
}

// readScript reads a script from a file. One that is absent is empty if it may be.
func readScript(path string, mayBeAbsent bool) ([]Step, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && mayBeAbsent {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	steps, err := parseScript(raw)
	if err != nil {
		return nil, fmt.Errorf("script %s: %w", path, err)
	}
	return steps, nil
}

// ScriptPath is the script of every environment, in a worker's directory.
func ScriptPath(dir string) string { return filepath.Join(dir, "script.json") }
