package cli

import (
	"context"
	"errors"
	"strconv"

	"github.com/spf13/cobra"
)

// Keysets changes the keyset of a data directory, which no server runs on meanwhile.
type Keysets interface {
	List(dataDir string) ([]SealingKey, error)
	Rotate(dataDir string) ([]SealingKey, error)
}

// SealingKey is a key that values of secrets are sealed with, without the key itself.
type SealingKey struct {
	ID uint32 `json:"id"`
	// Primary seals; the others only open.
	Primary bool `json:"primary"`
}

var sealingKeyView = view[SealingKey]{
	name: func(k SealingKey) string { return strconv.FormatUint(uint64(k.ID), 10) },
	columns: []column[SealingKey]{
		{title: "ID", value: func(k SealingKey, _ cell) string { return strconv.FormatUint(uint64(k.ID), 10) }},
		{title: "USE", value: func(k SealingKey, _ cell) string {
			if k.Primary {
				return "seals and opens"
			}
			return "opens"
		}},
	},
}

func (r *root) keysetGroup() *cobra.Command {
	return r.group("keyset", "The keys of this machine that seal secrets",
		[2]string{"tenure keyset list", "tenure keyset rotate --data-dir /var/lib/tenure"},
		r.keysetList(), r.keysetRotate())
}

func (r *root) keysetList() *cobra.Command {
	return r.verb(verb{
		use:      "list",
		short:    "List the keys in keyset.json, without the keys themselves",
		examples: [2]string{"tenure keyset list", "tenure keyset list --data-dir /var/lib/tenure -o json"},
		exits:    exitsOfLocal,
		run:      r.onKeyset(func(k Keysets) func(string) ([]SealingKey, error) { return k.List }),
	})
}

func (r *root) keysetRotate() *cobra.Command {
	return r.verb(verb{
		use:   "rotate",
		short: "Make a new key that seals; the ones before still open",
		long: "The server of the data directory must be stopped. At its next start everything is sealed with the new key. Other\n" +
			"servers on the same database need a copy of the new keyset.json before they start again, and say so if it is missing.",
		examples: [2]string{"tenure keyset rotate", "tenure keyset rotate --data-dir /var/lib/tenure -o json"},
		exits:    exitsOfLocal,
		run:      r.onKeyset(func(k Keysets) func(string) ([]SealingKey, error) { return k.Rotate }),
	})
}

func (r *root) onKeyset(do func(Keysets) func(string) ([]SealingKey, error)) func(context.Context, []string) error {
	return func(context.Context, []string) error {
		if r.Keysets == nil {
			return errors.New("this program has no keysets")
		}
		if r.flags.dataDir == "" {
			return usagef("no data directory is known").mendBy("name it with --data-dir")
		}
		keys, err := do(r.Keysets)(r.flags.dataDir)
		if err != nil {
			return err
		}
		return sealingKeyView.list(r, keys)
	}
}
