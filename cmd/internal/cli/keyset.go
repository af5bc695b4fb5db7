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
	Destroy(dataDir string, id uint32) ([]SealingKey, error)
}

// SealingKey is a key that values of secrets are sealed with, without the key itself.
type SealingKey struct {
	ID uint32 `json:"id"`
	// Primary seals; the others only open.
	Primary bool `json:"primary"`
	// Doomed is destroyed once nothing is sealed with it.
	Doomed bool `json:"doomed"`
}

var sealingKeyView = view[SealingKey]{
	name: func(k SealingKey) string { return strconv.FormatUint(uint64(k.ID), 10) },
	columns: []column[SealingKey]{
		{title: "ID", value: func(k SealingKey, _ cell) string { return strconv.FormatUint(uint64(k.ID), 10) }},
		{title: "USE", value: func(k SealingKey, _ cell) string {
			switch {
			case k.Primary:
				return "seals and opens"
			case k.Doomed:
				return "opens, until it is destroyed"
			}
			return "opens"
		}},
	},
}

func (r *root) keysetGroup() *cobra.Command {
	return r.group("keyset", "The keys of this machine that seal secrets",
		[2]string{"tenure keyset list", "tenure keyset rotate --data-dir /var/lib/tenure"},
		r.keysetList(), r.keysetRotate(), r.keysetDestroy())
}

func (r *root) keysetList() *cobra.Command {
	return r.verb(verb{
		use:      "list",
		short:    "List the keys in keyset.json, without the keys themselves",
		examples: [2]string{"tenure keyset list", "tenure keyset list --data-dir /var/lib/tenure -o json"},
		exits:    exitsOfLocal,
		run:      func(context.Context, []string) error { return r.onKeyset(Keysets.List) },
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
		run:      func(context.Context, []string) error { return r.onKeyset(Keysets.Rotate) },
	})
}

func (r *root) keysetDestroy() *cobra.Command {
	return r.verb(verb{
		use:   "destroy KEY",
		short: "Destroy a key that does not seal any more, at the server's next start",
		long: "The server of the data directory must be stopped. At its next start it seals everything with the primary key, and then\n" +
			"destroys this one, once no other server lives on the database. Backups of the database from before need it to be read.",
		examples: [2]string{"tenure keyset destroy 1234567890", "tenure keyset destroy 1234567890 --data-dir /var/lib/tenure"},
		exits:    exitsOfLocal,
		run: func(_ context.Context, args []string) error {
			id, err := strconv.ParseUint(args[0], 10, 32)
			if err != nil {
				return usagef("KEY: %q is not the number of a key", args[0]).mendBy("see: tenure keyset list")
			}
			return r.onKeyset(func(k Keysets, dataDir string) ([]SealingKey, error) { return k.Destroy(dataDir, uint32(id)) })
		},
	})
}

func (r *root) onKeyset(do func(Keysets, string) ([]SealingKey, error)) error {
	if r.Keysets == nil {
		return errors.New("this program has no keysets")
	}
	if r.flags.dataDir == "" {
		return usagef("no data directory is known").mendBy("name it with --data-dir")
	}
	keys, err := do(r.Keysets, r.flags.dataDir)
	if err != nil {
		return err
	}
	return sealingKeyView.list(r, keys)
}
