package check

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/eventstore"
)

// History is all that is known of a run. Whatever is left out is not judged.
type History struct {
	// Log is the whole log in the order of its positions, from the first. After forks it is the one that survived.
	Log []eventstore.Recorded
	// Lost are the events that a fork took away for certain: what the old primary had behind the place where the promoted
	// standby went on, whichever fork it was. What a client was told of them need not be in Log. An event whose payload and hashes
	// are not known will do, but By.Request must be there.
	Lost []eventstore.Recorded
	// Calls is what every client sent and was told, in any order.
	Calls []Call
	// Ledgers are what the providers wrote down, one for each provider.
	Ledgers []Ledger
	// ReadModels are the tables as they were read at the end.
	ReadModels []ReadModel
	// Clones are copies of the log that were started beside it and were not adopted.
	Clones []Clone
	// Away is when nobody could act, by the database's time, as far as whoever ran it knows: no worker was alive or could reach
	// the database, the database was down, or it was not to be trusted for its clock had jumped. Deadlines may be missed by as much.
	// What the log says of itself (RenewalsInterrupted, LogForked to LogAdopted) need not be here.
	Away []Interval
	// Limits say what to allow for.
	Limits Limits
}

// Limits say what a history is held to.
type Limits struct {
	// End is the database's time when the run was over and the log was read; zero for the time of the last event.
	End time.Time
	// Settled says that everything had the time to come to its end: faults were over, workers lived, and nobody was at
	// anything any more when the log, the ledgers and the read models were read. What is still open, or lives and nobody looks
	// after it, is a violation then.
	Settled bool
	// Sweep is how often deadlines are looked at. Slack is what is allowed beyond, for a machine that is busy; take-overs are
	// in it, so it is no less than a process's liveness time after which another acts for it.
	Sweep, Slack time.Duration
	// Skew is how far the clocks of clients and providers may be from the database's.
	Skew time.Duration
	// Reaper is how long what nobody looks after may live outside before it is destroyed or listed: one period and two looks.
	Reaper time.Duration
}

// Interval is a time from From to To.
type Interval struct{ From, To time.Time }

// Verb is what a client asked for.
type Verb string

// The verbs.
const (
	VerbAcquire    Verb = "acquire"
	VerbExec       Verb = "exec"
	VerbKill       Verb = "kill"
	VerbRenew      Verb = "renew"
	VerbRelease    Verb = "release"
	VerbCancel     Verb = "cancel"
	VerbReleaseRun Verb = "release_run"
	VerbShowLease  Verb = "show_lease"
	VerbShowExec   Verb = "show_exec"
	// VerbOther is any other command or question. That a refused one had no effect is checked of it too.
	VerbOther Verb = "other"
)

// Call is one request of a client and what it was told. A repetition is a call of its own with the same Key.
type Call struct {
	// Client names who called, for whoever reads a violation.
	Client string
	Verb   Verb
	// Request is the X-Request-ID that the client chose for this call and no other: it is on every event that the call led to
	// (Recorded.By.Request), and so ties the two together.
	Request uuid.UUID
	// Scope and Key are what makes calls one command: the Idempotency-Key, and within what it counts (company and route). Key is
	// "" for a call without one.
	Scope, Key string
	// Lease and Exec are what the call was about, as far as the client knew; of an acquire there is none.
	Lease, Exec uuid.UUID
	// Fence is the one that was sent; 0 for none.
	Fence int64
	// Sent and Answered are by the client's clock; Answered is zero if there was no answer.
	Sent, Answered time.Time
	// Status is that of the answer; 0 if there was none. Who calls no HTTP says 200 for done and what the API would say of a
	// refusal.
	Status int
	// Code is the problem's.
	Code string
	// Replayed says that the answer was marked as one to a command that had been accepted before.
	Replayed bool
	Answer   Answer
}

// Answer is what a call was told; zero for what it was not told. Fill in what the answer had, of any verb.
type Answer struct {
	Lease uuid.UUID
	Exec  uuid.UUID
	// Fence, State and ProviderLeaseID are the lease's, State as the API names it ("active").
	Fence           int64
	State           string
	ProviderLeaseID *string
	// ExpiresAt is the lease's end as the answer gave it.
	ExpiresAt time.Time
	// End and ExitCode are the exec's; End is "" while it has not ended.
	End      string
	ExitCode *int
	// Position is where the log was at or after the command's effect; 0 if it was not said.
	Position int64
}

// Class is what a provider can do about repeated and lost requests; see DESIGN section 5. The values are those of
// drivers.Class.
type Class string

// The classes.
const (
	// ClassIdempotent makes at most one thing of a runtime's id at a time.
	ClassIdempotent Class = "idempotent"
	// ClassListable may make several, which a list shows.
	ClassListable Class = "listable"
	// ClassBlind makes what it is asked for and cannot list; nobody asks it twice.
	ClassBlind Class = "blind"
)

// Ledger is what one provider made and did, as it wrote it down itself.
type Ledger struct {
	// Provider is its name as leases and runtimes in the log have it.
	Provider string
	Class    Class
	// Installation is the log's; things of another one are left out of the account. "" takes all.
	Installation string
	// Entries are in the order in which they happened.
	Entries []Entry
}

// Entry is one line of a ledger. Fill in what is known; zero is not known.
type Entry struct {
	Op Op
	At time.Time
	// Thing is the provider's own name of what was made, which it never uses again.
	Thing string
	// Runtime is the engine's id of it.
	Runtime uuid.UUID
	// Of a create and a hold: for whom. Of an exec and a destroy: who asked.
	Installation string
	Lease        uuid.UUID
	Fence        int64
	// Exec is the command that was started.
	Exec uuid.UUID
	// By tells who wrote the line, for whoever reads a violation.
	By string
}

// Op is what an entry records.
type Op string

// The lines of a ledger.
const (
	// OpCreate and OpDestroy begin and end a thing.
	OpCreate  Op = "create"
	OpDestroy Op = "destroy"
	// OpHold gives a thing to another holder, OpKeep takes it back from one.
	OpHold Op = "hold"
	OpKeep Op = "keep"
	// OpExec starts a command in a thing.
	OpExec Op = "exec"
	// OpVanish ends a thing that nobody asked to be destroyed: the provider, or who plays it, took it away. The log may hold it
	// for a while.
	OpVanish Op = "vanish"
	// OpAppear begins a thing that the engine did not ask for at that moment: a script made it under a runtime's id.
	OpAppear Op = "appear"
)

// ReadModel is the table of a read model at the end of the run.
type ReadModel struct {
	Name     string
	Revision int
	// Position is how far the table had got: it shows every event up to there and none beyond.
	Position int64
	Rows     []Row
}

// Row is one row of it: the columns that every read model has.
type Row struct {
	Stream   eventstore.Stream
	Created  int64
	Version  int64
	Position int64
	Data     json.RawMessage
}

// Clone is a copy of the log that was started beside the original.
type Clone struct {
	Name string
	// Log is the copy's whole log, in order. It begins like the original's.
	Log []eventstore.Recorded
	// Entries is what the clone's own processes wrote into the providers' ledgers; whoever ran them knows which lines those are.
	Entries []Entry
}

// done reports whether the call was acknowledged.
func (c *Call) done() bool { return c.Status >= 200 && c.Status < 300 }

// refused reports whether the client was told for certain that nothing was done.
func (c *Call) refused() bool {
	switch {
	case c.Status < 400 || c.Status >= 500 || c.Status == 408 || c.Status == 499:
		return false
	case c.Code == "lease_failed":
		return false // the lease was asked for, and came to a bad end
	}
	return true
}

func (c *Call) String() string {
	told := "no answer"
	if c.Status != 0 {
		told = fmt.Sprintf("%d %s", c.Status, c.Code)
	}
	s := fmt.Sprintf("%s of %s at %s (request %s", c.Verb, c.Client, at(c.Sent), c.Request)
	if c.Key != "" {
		s += ", key " + c.Key
	}
	return s + ", " + strings.TrimSpace(told) + ")"
}

// own reports whether an entry is of this log's installation, as far as it says.
func (l *Ledger) own(e Entry) bool {
	return l.Installation == "" || e.Installation == "" || e.Installation == l.Installation
}

func (e Entry) String() string {
	s := fmt.Sprintf("%s of %s at %s", e.Op, e.Thing, at(e.At))
	if e.Exec != uuid.Nil {
		s += ", " + execName(e.Exec)
	}
	if e.By != "" {
		s += " by " + e.By
	}
	return s
}
