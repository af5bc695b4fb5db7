package check

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/fake"
)

// FromFake are the ledgers of the three providers of plugin fake, which write into one file. Lines that are no acts are left
// out.
func FromFake(entries []fake.Entry, installation string) []Ledger {
	ledgers := []Ledger{
		{Provider: fake.KeyOf(drivers.ClassIdempotent), Class: ClassIdempotent, Installation: installation},
		{Provider: fake.KeyOf(drivers.ClassListable), Class: ClassListable, Installation: installation},
		{Provider: fake.KeyOf(drivers.ClassBlind), Class: ClassBlind, Installation: installation},
	}
	provider := map[string]string{}
	for _, e := range entries {
		if e.Op == fake.OpCreate {
			provider[e.ID] = e.Provider
		}
	}
	for _, e := range FakeEffects(entries) {
		for i := range ledgers {
			if ledgers[i].Provider == provider[e.Thing] {
				ledgers[i].Entries = append(ledgers[i].Entries, e)
			}
		}
	}
	return ledgers
}

// FakeEffects are the lines of the plugin's ledger by which something was done.
func FakeEffects(entries []fake.Entry) (done []Entry) {
	for _, e := range entries {
		switch e.Op {
		case fake.OpCreate, fake.OpHold, fake.OpKeep, fake.OpExec, fake.OpDestroy:
			done = append(done, Entry{
				Op: Op(e.Op), At: e.At, Thing: e.ID, Runtime: idOf(e.RuntimeID), Installation: e.Installation, Lease: idOf(e.LeaseID),
				Fence: e.Fence, Exec: idOf(e.ExecID), By: fmt.Sprintf("worker process %d", e.PID),
			})
		case fake.OpCall, fake.OpStuck:
		}
	}
	return done
}

// idOf is nil for what is no id of ours.
func idOf(text string) uuid.UUID {
	id, err := uuid.Parse(text)
	if err != nil {
		return uuid.Nil
	}
	return id
}
