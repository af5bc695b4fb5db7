// Package auth finds out who calls: it checks API keys.
//
//	Authorization: Bearer tnr_<key id, 32 hex digits>_<secret, base64url>
//	                            │                      │
//	                  the key's stream in the log      SHA-256, compared in constant time with the hash there
//
// The log knows only the hash of a secret. A secret has 256 random bits, so that no slow hash is needed.
package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/access"
	"github.com/tenure-dev/tenure/domain/key"
)

// ErrDenied says that the key is missing, malformed, unknown, revoked, or its secret is another one. Which of these is not told.
var ErrDenied = errors.New("the key is not valid")

const (
	prefix      = "tnr_"
	idDigits    = 32
	secretBytes = 32
)

// Key is a key in the clear.
type Key struct {
	ID     domain.KeyID
	secret string
}

// NewKey makes a key with a random secret.
func NewKey(id domain.KeyID) Key {
	secret := make([]byte, secretBytes)
	_, _ = rand.Read(secret) // crypto/rand.Read never fails; it ends the process instead.
	return Key{ID: id, secret: base64.RawURLEncoding.EncodeToString(secret)}
}

// Reveal spells the key as its holder sends it. It is deliberately not String, so that no log gets it by accident.
func (k Key) Reveal() string { return prefix + hex.EncodeToString(k.ID.UUID[:]) + "_" + k.secret }

// Hash is what the log knows of the secret.
func (k Key) Hash() string {
	sum := sha256.Sum256([]byte(k.secret))
	return hex.EncodeToString(sum[:])
}

// String hides the secret.
func (k Key) String() string { return prefix + hex.EncodeToString(k.ID.UUID[:]) + "_…" }

// Parse reads a key as its holder sends it.
func Parse(s string) (Key, error) {
	rest, ok := strings.CutPrefix(s, prefix)
	if !ok || len(rest) <= idDigits || rest[idDigits] != '_' {
		return Key{}, ErrDenied
	}
	id, err := hex.DecodeString(rest[:idDigits])
	secret := rest[idDigits+1:]
	if err != nil || len(secret) != base64.RawURLEncoding.EncodedLen(secretBytes) {
		return Key{}, ErrDenied
	}
	return Key{ID: domain.KeyID{UUID: uuid.UUID(id)}, secret: secret}, nil
}

// Freshness is how old what is known of a key may be: a revocation by another process takes effect within it.
const Freshness = time.Second

// maxKnown bounds the keys that are remembered.
const maxKnown = 10_000

// Keys checks keys.
type Keys struct {
	load func(context.Context, domain.KeyID) (key.State, error)
	now  func() time.Time

	mu    sync.Mutex
	known map[domain.KeyID]known
}

type known struct {
	state key.State
	at    time.Time
}

// NewKeys makes a checker that loads keys through load, from the log's end as of the call.
func NewKeys(load func(context.Context, domain.KeyID) (key.State, error)) *Keys {
	return &Keys{load: load, now: time.Now, known: map[domain.KeyID]known{}}
}

// Check returns who sends an Authorization header of this value. Anything but a valid key is [ErrDenied]; another error says
// that the key could not be looked up, and lets nobody in.
func (k *Keys) Check(ctx context.Context, header string) (access.Principal, error) {
	scheme, token, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return access.Principal{}, ErrDenied
	}
	given, err := Parse(strings.TrimSpace(token))
	if err != nil {
		return access.Principal{}, err
	}
	state, err := k.state(ctx, given.ID)
	if err != nil {
		return access.Principal{}, err
	}
	same := subtle.ConstantTimeCompare([]byte(given.Hash()), []byte(state.Key.Hash)) == 1
	if !same || state.Status != key.StatusActive {
		return access.Principal{}, ErrDenied
	}
	return access.Principal{ID: state.Key.Principal, Key: given.ID, Role: state.Key.Role, Company: state.Key.Company}, nil
}

// Forget makes the next check load the key: this process knows that it changed.
func (k *Keys) Forget(id domain.KeyID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.known, id)
}

func (k *Keys) state(ctx context.Context, id domain.KeyID) (key.State, error) {
	// Taken before the load: what is known is at least as new as this.
	now := k.now()
	k.mu.Lock()
	have, ok := k.known[id]
	k.mu.Unlock()
	if ok && now.Sub(have.at) < Freshness {
		return have.state, nil
	}
	state, err := k.load(ctx, id)
	if err != nil || state.Status == key.StatusNone {
		return state, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.known) >= maxKnown {
		clear(k.known)
	}
	k.known[id] = known{state: state, at: now}
	return state, nil
}
