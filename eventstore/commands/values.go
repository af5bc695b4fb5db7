package commands

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/vault"
)

// Values are what must never be in the log: the values of variables and a standard input. The log has their names, sizes
// and salted hashes; the values lie beside it under the id of the thing that needs them, and go when it ends.
type Values struct {
	Env   map[string]string
	Stdin []byte
}

// values are Values with what the log may say of them.
type values struct {
	names     []domain.EnvName
	stdinHash string
	raw       []byte
}

type storedValues struct {
	Env   map[string]string `json:"env,omitempty"`
	Stdin []byte            `json:"stdin,omitempty"`
	// Salt goes into every hash and is gone with the values.
	Salt []byte `json:"salt"`
}

func newValues(env map[string]string, stdin []byte) (values, error) {
	if err := domain.CheckEnvVars("env", env); err != nil {
		return values{}, err
	}
	if len(env) == 0 && len(stdin) == 0 {
		return values{}, nil
	}
	stored := storedValues{Env: env, Stdin: stdin, Salt: eventstore.NewSalt()}
	raw, err := json.Marshal(stored)
	if err != nil {
		return values{}, fmt.Errorf("encode values: %w", err)
	}
	if len(raw) > maxValues {
		return values{}, domain.Refuse(domain.KindInvalid, "too_large", "env and stdin have %d bytes together; the limit is %d",
			len(raw), maxValues).On("stdin").Mend("send less, or bring the data in as a file")
	}
	v := values{raw: raw}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		v.names = append(v.names, domain.EnvName{Name: name, Hash: salted(stored.Salt, []byte(env[name]))})
	}
	if len(stdin) > 0 {
		v.stdinHash = salted(stored.Salt, stdin)
	}
	return v, nil
}

// maxValues leaves room for what sealing adds.
const maxValues = eventstore.MaxInputBytes - vault.Overhead

func salted(salt, value []byte) string {
	h := sha256.New()
	h.Write(salt)
	h.Write(value)
	return hex.EncodeToString(h.Sum(nil))
}

func (v values) some() bool { return len(v.raw) > 0 }

// keepValues seals values and keeps them beside the log with the work's events.
func (c *Commands) keepValues(w *eventstore.Work, v values, in eventstore.Input) error {
	if !v.some() {
		return nil
	}
	var err error
	if in.Value, err = c.vault.Seal(v.raw, vault.OfInput(in.Company, in.Subject, in.ID)); err == nil {
		w.Keep(in)
	}
	return err
}

// Values returns what lies beside the log for a lease or an exec; nothing if it has none or has ended.
func (c *Commands) Values(ctx context.Context, id uuid.UUID) (Values, error) {
	in, err := c.ledger.Store().ReadInput(ctx, id)
	if errors.Is(err, eventstore.ErrNoInput) {
		return Values{}, nil
	}
	if err != nil {
		return Values{}, err
	}
	raw := in.Value
	if !plainValues(raw) {
		if raw, err = c.vault.Open(in.Value, vault.OfInput(in.Company, in.Subject, id)); err != nil {
			return Values{}, fmt.Errorf("open the values of %s: %w", id, err)
		}
	}
	var stored storedValues
	if err := json.Unmarshal(raw, &stored); err != nil {
		return Values{}, fmt.Errorf("decode the values of %s: %w", id, errors.New("damaged"))
	}
	return Values{Env: stored.Env, Stdin: stored.Stdin}, nil
}

// plainValues reports whether values were kept by a version that did not seal them yet.
func plainValues(raw []byte) bool { return len(raw) > 0 && raw[0] == '{' }
