package cli

import (
	"context"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

func (r *root) secretRotate() *cobra.Command {
	var file *string
	cmd := r.companyFlag(r.verb(verb{
		use:   "rotate NAME-OR-ID",
		short: "Give a secret a new value, from stdin or a file",
		long:  "References to the latest version mean the new one from then on; the versions before are kept until they are destroyed.",
		examples: [2]string{
			"tenure secret rotate deploy-key --from-file id_ed25519",
			"tenure secret rotate api-token <token.txt",
		},
		exits: exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			value, err := r.secretValue(ctx, *file)
			if err != nil {
				return err
			}
			return r.changeSecret(ctx, args[0], func(c *client.Client, id uuid.UUID) (wire.Secret, error) {
				return c.AddSecretVersion(ctx, id, wire.AddSecretVersion{Value: value})
			})
		},
	}))
	file = fromFileFlag(cmd)
	return cmd
}

func (r *root) secretDisable() *cobra.Command {
	return r.companyFlag(r.verb(verb{
		use:   "disable NAME-OR-ID VERSION",
		short: "Take a version of a secret out of use; whoever refers to it is refused",
		examples: [2]string{
			"tenure secret disable deploy-key 2",
			"tenure secret disable deploy-key 2 -o json",
		},
		exits: exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			return r.switchSecret(ctx, args, (*client.Client).DisableSecretVersion)
		},
	}))
}

func (r *root) secretEnable() *cobra.Command {
	return r.companyFlag(r.verb(verb{
		use:   "enable NAME-OR-ID VERSION",
		short: "Put a disabled version of a secret back into use",
		examples: [2]string{
			"tenure secret enable deploy-key 2",
			"tenure secret enable deploy-key 2 -o json",
		},
		exits: exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			return r.switchSecret(ctx, args, (*client.Client).EnableSecretVersion)
		},
	}))
}

func (r *root) secretDestroy() *cobra.Command {
	var force bool
	cmd := r.companyFlag(r.verb(verb{
		use:   "destroy NAME-OR-ID [VERSION]",
		short: "End a secret, or one version of it, and its values for good",
		long: "Leases that are not over and need it stand in the way, and are listed. With --force it is destroyed all the same; then the\n" +
			"server cannot take down what they have.",
		examples: [2]string{
			"tenure secret destroy deploy-key 1",
			"tenure secret destroy deploy-key",
		},
		exits: exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			var opts []client.CallOption
			if force {
				opts = append(opts, client.Force())
			}
			if len(args) == 2 {
				return r.switchSecret(ctx, args, func(c *client.Client, ctx context.Context, id uuid.UUID, version int, _ ...client.CallOption) (wire.Secret, error) {
					return c.DestroySecretVersion(ctx, id, version, opts...)
				})
			}
			return r.changeSecret(ctx, args[0], func(c *client.Client, id uuid.UUID) (wire.Secret, error) {
				return c.DestroySecret(ctx, id, opts...)
			})
		},
	}))
	cmd.Flags().BoolVar(&force, "force", false, "destroy it although leases need it")
	return cmd
}

// switchSecret changes the version that the second argument names.
func (r *root) switchSecret(
	ctx context.Context, args []string, do func(*client.Client, context.Context, uuid.UUID, int, ...client.CallOption) (wire.Secret, error),
) error {
	version, err := secretVersion(args[1])
	if err != nil {
		return err
	}
	return r.changeSecret(ctx, args[0], func(c *client.Client, id uuid.UUID) (wire.Secret, error) { return do(c, ctx, id, version) })
}

// changeSecret finds a secret, changes it and shows it.
func (r *root) changeSecret(ctx context.Context, name string, do func(*client.Client, uuid.UUID) (wire.Secret, error)) error {
	c, err := r.api(ctx)
	if err != nil {
		return err
	}
	found, err := r.secret(ctx, c, name)
	if err != nil {
		return err
	}
	s, err := do(c, found.ID)
	if err != nil {
		return err
	}
	visible(ctx, s.Position, secretsOf(c, s.CompanyID))
	return secretView.show(r, s)
}
