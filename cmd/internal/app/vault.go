package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tenure-dev/tenure/cmd/internal/cli"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/embedded"
	"github.com/tenure-dev/tenure/eventstore/vault"
)

// openVault brings the keyset of this node and the keys of the database together, and makes the commands.
func (a *App) openVault(ctx context.Context) error {
	host, err := os.Hostname()
	if err != nil {
		host = "an unknown machine"
	}
	sealed, err := vault.Settle(ctx, a.store, a.keysetSource(), fmt.Sprintf("%s:%s", host, a.lock.Dir()))
	if err != nil {
		return databaseError(err)
	}
	a.commands = commands.New(eventstore.NewLedger(a.store), sealed)
	return nil
}

// keysetSource is where this process's keyset is.
func (a *App) keysetSource() vault.Source {
	from := vault.InDataDir(a.lock.Dir())
	from.Given = a.opts.Keyset
	return from
}

// resealAgain is how long to wait before what could not be sealed is tried again.
const resealAgain = time.Minute

// startResealing seals with the primary key what lies beside the log and is not: after the first start of a version that
// seals, and after a rotation. It goes on beside everything else and begins anew at the next start if it is cut short.
func (a *App) startResealing(ctx context.Context) {
	a.background(ctx, "sealing", func(ctx context.Context) {
		for {
			done, err := a.commands.Reseal(ctx, a.store)
			if ctx.Err() != nil {
				return
			}
			if done.Sealed > 0 || done.Damaged > 0 {
				a.log.Info("sealed what lies beside the log with the primary key", "values", done.Seen, "sealed", done.Sealed, "damaged", done.Damaged)
			}
			if err == nil {
				var again bool
				if again, err = a.destroyKeys(ctx, done); err == nil && !again {
					return
				}
			}
			if err != nil && ctx.Err() == nil {
				a.log.Warn("values beside the log could not all be sealed with the primary key yet", "error", err)
			}
			select {
			case <-time.After(resealAgain):
			case <-ctx.Done():
				return
			}
		}
	})
}

// destroyKeys destroys the keys that the keyset says are to be, now that all that opens is sealed with the primary key. While
// another process lives, which may have started before the rotation, it waits for its end: again is true.
func (a *App) destroyKeys(ctx context.Context, done commands.Resealed) (again bool, err error) {
	from := a.keysetSource()
	keys, found, err := from.Load()
	if err != nil || !found {
		return false, err
	}
	for _, k := range keys.Keys() {
		if !k.Doomed {
			continue
		}
		if done.Damaged > 0 {
			a.log.Warn("a key is not destroyed: there are values that do not open", "key", k.ID, "damaged", done.Damaged)
			return false, nil
		}
		if others, err := a.others(ctx); err != nil || others > 0 {
			a.log.Info("a key is destroyed once no other process lives", "key", k.ID, "others", others)
			return err == nil, err
		}
		used, err := a.store.DestroyKey(ctx, k.ID)
		if err != nil || used {
			return used, err
		}
		if from.Given != "" {
			a.log.Info("nothing is sealed with a key any more; take it out of "+vault.Variable, "key", k.ID)
			continue
		}
		if keys, err = keys.Destroy(k.ID); err != nil {
			return false, err
		}
		if err := from.Save(keys); err != nil {
			return false, err
		}
		a.log.Info("destroyed a key", "key", k.ID)
	}
	return false, nil
}

// others counts the processes that live on this database, besides this one.
func (a *App) others(ctx context.Context) (int, error) {
	list, err := a.store.Processes().List(ctx)
	n := 0
	for _, p := range list {
		if p.Alive && p.ID != a.process.ID {
			n++
		}
	}
	return n, err
}

// Keysets changes keysets in their files. No engine may run on the data directory meanwhile: it reads the file at its start.
type Keysets struct{}

var _ cli.Keysets = Keysets{}

// List lists the keys of a data directory.
func (Keysets) List(dataDir string) ([]cli.SealingKey, error) {
	k, err := loadKeyset(vault.InDataDir(dataDir))
	if err != nil {
		return nil, err
	}
	return shownKeys(k), nil
}

// Rotate makes a new key that seals from the next start on; the ones before still open.
func (Keysets) Rotate(dataDir string) ([]cli.SealingKey, error) {
	return changeKeyset(dataDir, (*vault.Keyset).Rotate)
}

// Destroy marks a key to be destroyed by the next start, once nothing is sealed with it.
func (Keysets) Destroy(dataDir string, id uint32) ([]cli.SealingKey, error) {
	keys, err := changeKeyset(dataDir, func(k *vault.Keyset) (*vault.Keyset, error) { return k.Doom(id) })
	switch {
	case errors.Is(err, vault.ErrPrimary):
		err = &cli.StartError{Code: "key_in_use", What: "the key seals", Remediation: "make another one with: tenure keyset rotate"}
	case errors.Is(err, vault.ErrNoKey):
		err = &cli.StartError{Code: "key_unknown", What: "the keyset has no such key", Remediation: "see: tenure keyset list"}
	}
	return keys, err
}

func changeKeyset(dataDir string, how func(*vault.Keyset) (*vault.Keyset, error)) (_ []cli.SealingKey, err error) {
	// Without this the lock would make a directory of what may be a mistyped name.
	if _, err := os.Stat(filepath.Join(dataDir, vault.FileName)); err != nil {
		return nil, noKeyset(dataDir, err)
	}
	lock, err := embedded.Lock(dataDir)
	if err != nil {
		return nil, startFailure(err)
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	from := vault.InDataDir(lock.Dir())
	k, err := loadKeyset(from)
	if err != nil {
		return nil, err
	}
	if k, err = how(k); err != nil {
		return nil, err
	}
	if err := from.Save(k); err != nil {
		return nil, err
	}
	return shownKeys(k), nil
}

func loadKeyset(from vault.Source) (*vault.Keyset, error) {
	k, found, err := from.Load()
	if err != nil {
		return nil, startFailure(err)
	}
	if !found {
		return nil, noKeyset(filepath.Dir(from.Path), nil)
	}
	return k, nil
}

func noKeyset(dataDir string, cause error) error {
	return &cli.StartError{
		Code: "keyset_missing", What: "there is no " + vault.FileName + " in " + dataDir, Cause: cause,
		Remediation: "name the server's data directory with --data-dir, and call as the user that runs the server",
	}
}

func shownKeys(k *vault.Keyset) []cli.SealingKey {
	var list []cli.SealingKey
	for _, key := range k.Keys() {
		list = append(list, cli.SealingKey{ID: key.ID, Primary: key.Primary, Doomed: key.Doomed})
	}
	return list
}
