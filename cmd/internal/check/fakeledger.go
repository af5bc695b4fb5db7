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
		op, act := fakeOps[e.Op]
		if !act {
			continue
		}
		if e.Op == fake.OpCreate {
			provider[e.ID] = e.Provider
		}
		for i := range ledgers {
			if ledgers[i].Provider == provider[e.ID] {
				ledgers[i].Entries = append(ledgers[i].Entries, ofFake(op, e))
			}
		}
	}
	return ledgers
}

var fakeOps = map[fake.Op]Op{
	fake.OpCreate: OpCreate, fake.OpHold: OpHold, fake.OpKeep: OpKeep, fake.OpExec: OpExec, fake.OpDestroy: OpDestroy,
}

func ofFake(op Op, e fake.Entry) Entry {
	return Entry{
		Op: op, At: e.At, Thing: e.ID, Runtime: idOf(e.RuntimeID), Installation: e.Installation, Lease: idOf(e.LeaseID), Epoch: e.Epoch,
		Fence: e.Fence, Attempt: e.Attempt, Exec: idOf(e.ExecID), By: fmt.Sprintf("pid %d", e.PID),
	}
}

// idOf is nil for what is no id of ours.
func idOf(text string) uuid.UUID {
	id, err := uuid.Parse(text)
	if err != nil {
		return uuid.Nil
	}
	return id
}
