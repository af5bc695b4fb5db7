package vault

import (
	"context"
	"fmt"
	"slices"
)

// Code names why a keyset cannot be used, for programs.
type Code string

// The codes of Error.
const (
	CodeMissing Code = "keyset_missing"
	CodeOther   Code = "keyset_of_another_database"
	CodeDamaged Code = "keyset_damaged"
)

// Error is a keyset that does not fit the database. Nothing was changed.
type Error struct {
	Code Code
	// What is what was found, Remediation what to do about it.
	What, Remediation string
}

func (e *Error) Error() string { return e.What + "; " + e.Remediation }

// Known is what the database knows of a key.
type Known struct {
	ID uint32
	// Check is the key's check value.
	Check []byte
	// Host is the machine that brought the key in.
	Host string
	// Destroyed says that nothing is sealed with it any more, and that nobody needs it.
	Destroyed bool
}

// Table is where the database keeps what it knows of keys.
type Table interface {
	// SettleKeys calls judge with every key that the database knows, while nobody else can do so, and adds what it returns.
	SettleKeys(ctx context.Context, judge func(known []Known) (add []Known, err error)) error
}

// Settle brings a keyset and a database together at a start: each key that the database knows must be in the keyset and open
// its check value, else the start is refused with an [*Error]. A key that the database does not know is added to it. On the
// very first start of a database a keyset is made, and is durable before the database knows of it; once the database has
// keys, a missing keyset is never replaced by a new one.
func Settle(ctx context.Context, table Table, from Source, host string) (*Vault, error) {
	var keys *Keyset
	err := table.SettleKeys(ctx, func(all []Known) ([]Known, error) {
		known := slices.DeleteFunc(slices.Clone(all), func(k Known) bool { return k.Destroyed })
		k, found, err := from.Load()
		if err != nil {
			return nil, err
		}
		switch {
		case !found && len(known) > 0:
			return nil, missing(from, known[0], "is not there")
		case !found:
			if k, err = NewKeyset(); err != nil {
				return nil, err
			}
			if err := from.Save(k); err != nil {
				return nil, err
			}
		}
		keys = k
		return k.judge(from, all, host)
	})
	if err != nil {
		return nil, err
	}
	return New(keys)
}

func (k *Keyset) judge(from Source, known []Known, host string) (add []Known, err error) {
	have := map[uint32]bool{}
	for _, key := range k.Keys() {
		have[key.ID] = true
	}
	for _, db := range known {
		if db.Destroyed {
			delete(have, db.ID) // a copy of the file that still has it does not bring it back
			continue
		}
		if !have[db.ID] {
			return nil, missing(from, db, "does not have it")
		}
		if !k.verify(db.ID, db.Check) {
			return nil, &Error{
				Code: CodeOther, What: fmt.Sprintf("key %d in %s is not the one that the database knows by this number", db.ID, from),
				Remediation: copyFrom(from, db),
			}
		}
		delete(have, db.ID)
	}
	for _, key := range k.Keys() {
		if !have[key.ID] {
			continue
		}
		check, err := k.check(key.ID)
		if err != nil {
			return nil, err
		}
		add = append(add, Known{ID: key.ID, Check: check, Host: host})
	}
	return add, nil
}

func missing(from Source, db Known, how string) error {
	return &Error{
		Code: CodeMissing, What: fmt.Sprintf("the database has values sealed with key %d, and %s %s", db.ID, from, how), Remediation: copyFrom(from, db),
	}
}

// copyFrom says which file to copy.
func copyFrom(from Source, db Known) string {
	to := from.Path
	if from.Given != "" {
		to = "that variable"
	}
	return fmt.Sprintf("copy %s from the data directory of a machine that has key %d (it came from %s) to %s", FileName, db.ID, db.Host, to)
}
