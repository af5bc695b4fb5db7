package docker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"

	"github.com/tenure-dev/tenure/drivers"
)

// ensureImage makes the image be there, as the pull policy says. ctx is without the limit of other steps.
func (e *engine) ensureImage(ctx context.Context) error {
	if e.cfg.PullPolicy == PullAlways {
		return e.pull(ctx)
	}
	here, err := e.hasImage(ctx)
	switch {
	case err != nil:
		return err
	case here:
		return nil
	case e.cfg.PullPolicy == PullNever:
		return imageUnavailable("find_image", drivers.OutcomeDefinite, fmt.Errorf("the engine has no image %s, and pullPolicy is never", e.cfg.Image))
	}
	return e.pull(ctx)
}

func (e *engine) hasImage(ctx context.Context) (bool, error) {
	ctx, cancel := within(ctx, e.cfg.Timeout, "the engine's answer")
	defer cancel()
	_, err := e.ImageInspect(ctx, e.cfg.Image)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, failed(ctx, "find_image", err)
	}
	return true, nil
}

// auth is the header that the engine passes to the registry; "" without credentials.
func (e *engine) auth() (string, error) {
	if e.cfg.RegistryUsername == "" {
		return "", nil
	}
	return authconfig.Encode(registry.AuthConfig{Username: e.cfg.RegistryUsername, Password: e.cfg.RegistryPassword})
}

// pull gets the image from its registry and logs how far it is.
func (e *engine) pull(ctx context.Context) error {
	const step = "pull_image"
	ctx, cancel := within(ctx, e.cfg.PullTimeout, "the pull of "+e.cfg.Image)
	defer cancel()
	auth, err := e.auth()
	if err != nil {
		return imageUnavailable(step, drivers.OutcomeDefinite, err)
	}
	e.log.Info("image pull begins", "image", e.cfg.Image)
	progress := pullProgress{log: e.log, image: e.cfg.Image, layers: make(map[string]layer)}
	stream, err := e.ImagePull(ctx, e.cfg.Image, client.ImagePullOptions{RegistryAuth: auth})
	if err == nil {
		for message, streamErr := range stream.JSONMessages(ctx) {
			if err = streamErr; err != nil {
				break
			}
			if message.Error != nil {
				err = message.Error
				break
			}
			progress.heard(message)
		}
		_ = stream.Close()
	}
	switch {
	case err == nil:
		e.log.Info("image pulled", "image", e.cfg.Image)
		return nil
	case ctx.Err() != nil && !isAnswer(err):
		return imageUnavailable(step, drivers.OutcomeRetryable, withLast(context.Cause(ctx), progress.last))
	}
	err = fmt.Errorf("%s: %w", e.cfg.Image, err)
	if f := failed(ctx, step, err); f.Code == "engine_unreachable" || f.Code == "engine_forbidden" && !isAnswer(err) || f.Code == "disk_full" {
		return f
	}
	outcome := drivers.OutcomeRetryable
	if isDenied(err) || isAbsent(err) {
		outcome = drivers.OutcomeDefinite
	}
	return imageUnavailable(step, outcome, err)
}

func withLast(err error, last string) error {
	if last == "" {
		return err
	}
	return fmt.Errorf("%w; the engine's last words: %s", err, last)
}

// imageUnavailable has the engine's own reason in it.
func imageUnavailable(step string, outcome drivers.Outcome, err error) *drivers.Failure {
	f := &drivers.Failure{
		Outcome: outcome, Code: "image_unavailable", Step: step, Err: err,
		Remediation: "correct the name of the image, or see whether the engine reaches its registry: docker pull",
	}
	if _, late := errors.AsType[*limitError](err); late {
		f.Remediation = "see whether the engine reaches the registry, pull the image beforehand, or raise pullTimeoutMs"
	} else if isDenied(err) {
		f.Remediation = "correct the name of the image, or registryUsername and registryPassword"
	}
	return f
}

// isDenied and isAbsent read the registry's answer. Engines of different age pass it on as a status, or in words only.
func isDenied(err error) bool {
	return errdefs.IsUnauthorized(err) || errdefs.IsPermissionDenied(err) ||
		says(err, "unauthorized", "authentication required", "access denied", "denied:", "incorrect username or password", "no basic auth credentials")
}

func isAbsent(err error) bool {
	return errdefs.IsNotFound(err) || errdefs.IsInvalidArgument(err) || says(err, "manifest unknown", "name unknown", "not found", "does not exist", "no matching manifest")
}

func says(err error, words ...string) bool {
	text := strings.ToLower(err.Error())
	for _, w := range words {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}

// progressEvery is how often a pull that goes on is logged.
const progressEvery = 2 * time.Second
