package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/auth"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/access"
	"github.com/tenure-dev/tenure/domain/key"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// ensureAdminKey makes the first admin key. The file comes before the event: a start that was cut in between finds the
// file and adds the key that is in it, so there is never a key that nobody has. A database that has an admin key already
// gets no second one from another data directory.
func (a *App) ensureAdminKey(ctx context.Context) error {
	path := filepath.Join(a.lock.Dir(), "admin.key")
	raw, err := os.ReadFile(path)
	switch {
	case err == nil:
		k, err := auth.Parse(strings.TrimSpace(string(raw)))
		if err != nil {
			return fmt.Errorf("%s does not hold an API key; restore it, or remove it if you have another admin key", path)
		}
		return a.addAdminKey(ctx, k)
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("read the admin key: %w", err)
	}
	known, err := a.anyAdminKey(ctx)
	if err != nil || known {
		return err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("make an id: %w", err)
	}
	k := auth.NewKey(domain.KeyID{UUID: id})
	if err := writePrivate(path, k.Reveal()+"\n"); err != nil {
		return err
	}
	return a.addAdminKey(ctx, k)
}

func (a *App) addAdminKey(ctx context.Context, k auth.Key) error {
	loaded, err := eventstore.Load(ctx, a.commands.Ledger(), commands.Keys, k.ID.UUID)
	if err != nil || loaded.Version > 0 {
		return err
	}
	by := eventstore.Attribution{Actor: domain.PrincipalID{UUID: a.process.ID.UUID}}
	_, err = a.commands.AddKey(ctx, commands.Caller{By: by}, k.ID, key.Added{
		Role: access.RoleAdmin, Name: "first admin", Hash: k.Hash(), Principal: domain.PrincipalID{UUID: k.ID.UUID},
	})
	if r, ok := errors.AsType[*domain.Refusal](err); ok && r.Kind == domain.KindConflict {
		return nil // another process with the same file has added it meanwhile
	}
	return err
}
