package supervisor

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/install"
	"github.com/tenure-dev/tenure/domain/plugin"
	"github.com/tenure-dev/tenure/drivers"
)

// Installer looks at plugins and keeps their files.
type Installer interface {
	// InstallPlugin copies the plugin that lies at source and says what it is. Its error is a [*drivers.Failure]. Doing so
	// again is harmless.
	InstallPlugin(ctx context.Context, source string) (plugin.Installed, error)
}

// stepInstall installs a plugin, if this is the node that has it.
func (s *Supervisor) stepInstall(ctx context.Context, id domain.InstallID, cause uuid.UUID) error {
	i, err := s.deps.Commands.KnownInstall(ctx, id)
	if err != nil || i.Status != install.StatusRequested || i.Request.Node != s.deps.Process.Node || s.deps.Installer == nil {
		return err
	}
	installed, err := call(ctx, s, s.opts.InstallTimeout, func(ctx context.Context) (plugin.Installed, error) {
		return s.deps.Installer.InstallPlugin(ctx, i.Request.Source)
	}, func(plugin.Installed) {})
	if err == nil {
		installed.Node = s.deps.Process.Node
		err = s.persist(func(ctx context.Context) error {
			_, err := s.deps.Commands.FinishInstall(ctx, s.me(cause), id, installed)
			return err
		})
		if err == nil || !refused(err) {
			return err
		}
	}
	if s.work.Err() != nil {
		return err // cut short: whoever starts next does it again
	}
	return s.persist(func(ctx context.Context) error {
		_, err := s.deps.Commands.FailInstall(ctx, s.me(cause), id, whyNot(err))
		return err
	})
}

// whyNot is what a person reads of a plugin that was not installed.
func whyNot(err error) install.Failed {
	if r, ok := errors.AsType[*domain.Refusal](err); ok {
		return install.Failed{Code: r.Code, Message: domain.Clean(r.Error(), domain.MaxMessage), Remediation: r.Remediation}
	}
	failed := install.Failed{Code: "install_failed", Message: domain.Clean(err.Error(), domain.MaxMessage)}
	if f, ok := errors.AsType[*drivers.Failure](err); ok {
		failed.Code, failed.Remediation = f.Code, domain.Clean(f.Remediation, domain.MaxMessage)
	}
	return failed
}
