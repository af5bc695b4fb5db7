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
	if len(raw) > eventstore.MaxInputBytes {
		return values{}, domain.Refuse(domain.KindInvalid, "too_large", "env and stdin have %d bytes together; the limit is %d",
			len(raw), eventstore.MaxInputBytes).On("stdin").Mend("send less, or bring the data in as a file")
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

func salted(salt, value []byte) string {
	h := sha256.New()
	h.Write(salt)
	h.Write(value)
	return hex.EncodeToString(h.Sum(nil))
}

func (v values) some() bool { return len(v.raw) > 0 }

func (v values) input(id uuid.UUID, company domain.CompanyID, subject eventstore.Stream) eventstore.Input {
	return eventstore.Input{ID: id, Company: company, Subject: subject, Value: v.raw}
}

// Values returns what lies beside the log for a lease or an exec; nothing if it has none or has ended.
func (c *Commands) Values(ctx context.Context, id uuid.UUID) (Values, error) {
	raw, err := c.ledger.Store().ReadInput(ctx, id)
	if errors.Is(err, eventstore.ErrNoInput) {
		return Values{}, nil
	}
	if err != nil {
		return Values{}, err
	}
	var stored storedValues
	if err := json.Unmarshal(raw, &stored); err != nil {
		return Values{}, fmt.Errorf("decode the values of %s: %w", id, errors.New("damaged"))
	}
	return Values{Env: stored.Env, Stdin: stored.Stdin}, nil
}
