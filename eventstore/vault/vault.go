// Package vault seals what must never be in the log in the clear: the values of secrets, and the variables and inputs that
// lie beside the log until their lease or exec ends.
//
//	value + Binding ──Seal (primary key)──► 01 │ 01 key-id nonce ciphertext tag ──Open (the key of that id, same Binding)──► value
//
// A sealed value opens only under the [Binding] it was sealed with, so that a row which was copied or moved within the
// database opens for nobody else. The keys are a [Keyset] in a file of the data directory; the database knows of each key
// only its id and a check value, by which a machine with another file is told at its start ([Settle]) and never writes what
// the others cannot read.
package vault

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/tink"
)

// sealed is the first byte of what the vault has sealed. What lay beside the log before there was a vault is JSON, which
// never begins with it.
const sealed = 1

// prefixLen is the length of what tink puts before a ciphertext: a byte 1 and the id of the key.
const prefixLen = 5

// Overhead is how much longer a value gets by being sealed.
const Overhead = 1 + prefixLen + 24 + 16

// ErrDamaged says that a value does not open: it was altered, or sealed for something else.
var ErrDamaged = errors.New("the sealed value does not open: it was altered, or belongs to something else")

// Vault seals and opens. It is safe for concurrent use.
type Vault struct {
	aead    tink.AEAD
	primary uint32
	hashKey []byte
}

// New is the vault of a keyset.
func New(k *Keyset) (*Vault, error) {
	primitive, err := newAEAD(k.handle)
	if err != nil {
		return nil, err
	}
	return &Vault{aead: primitive, primary: k.Primary(), hashKey: k.hashKey}, nil
}

// InMemory is a vault with a key that is kept nowhere: what it seals is lost with the process. It is for tests.
func InMemory() *Vault {
	k, err := NewKeyset()
	if err != nil {
		panic(err) // there is no randomness
	}
	v, err := New(k)
	if err != nil {
		panic(err)
	}
	return v
}

// String names the key that seals, so that no print of a vault shows a key.
func (v *Vault) String() string { return fmt.Sprintf("vault with key %d", v.primary) }

// GoString is String.
func (v *Vault) GoString() string { return v.String() }

// Primary is the id of the key that seals.
func (v *Vault) Primary() uint32 { return v.primary }

// Seal encrypts a value for what b names.
func (v *Vault) Seal(value []byte, b Binding) ([]byte, error) {
	out, err := v.aead.Encrypt(value, b.bytes())
	if err != nil {
		return nil, fmt.Errorf("seal a value: %w", err)
	}
	return append([]byte{sealed}, out...), nil
}

// Open decrypts a value that was sealed for what b names. What is no longer or not yet sealed is [ErrDamaged].
func (v *Vault) Open(stored []byte, b Binding) ([]byte, error) {
	if !Sealed(stored) {
		return nil, ErrDamaged
	}
	value, err := v.aead.Decrypt(stored[1:], b.bytes())
	if err != nil {
		return nil, ErrDamaged
	}
	return value, nil
}

// Sealed reports whether a stored value is one that a vault has sealed.
func Sealed(stored []byte) bool { return len(stored) >= Overhead && stored[0] == sealed }

// KeyOf is the id of the key that sealed a value; 0 for one that is not sealed.
func KeyOf(stored []byte) uint32 {
	if !Sealed(stored) {
		return 0
	}
	return binary.BigEndian.Uint32(stored[2 : 1+prefixLen])
}

// Hash is a keyed hash. Without the key, who has it cannot find out what was hashed by trying, however few the
// possibilities are. The key stays the same when the sealing key is rotated.
func (v *Vault) Hash(parts ...[]byte) [32]byte {
	h := hmac.New(sha256.New, v.hashKey)
	for _, p := range parts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
		h.Write(p)
	}
	return [32]byte(h.Sum(nil))
}
