package docker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/uuid"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/docker/inner"
)

// Probe implements [drivers.Prober]. Its phases are config, ping, abilities, auth, image and create. An image that is missing
// is not pulled but asked for at its registry, whatever the policy: a probe should take seconds. With the image here, a
// container of the configuration is started, in which the program does nothing but exit, and removed.
func (d *Driver) Probe(ctx context.Context, req drivers.ProbeRequest) (drivers.ProbeResult, error) {
	cfg, err := decodeConfig(req.Config, d.opts)
	if err != nil {
		r := drivers.ProbeResult{Phase: "config", Summary: err.Error()}
		if bad, ok := errors.AsType[*drivers.ConfigError](err); ok {
			for _, p := range bad.Problems {
				r.Diagnostics = append(r.Diagnostics, drivers.Diagnostic{
					Severity: drivers.SeverityError, Code: "bad_config", Message: p.Field + " " + p.Problem, Remediation: p.Remediation,
				})
			}
		}
		return r, nil
	}
	e, err := d.engineOf(cfg)
	if err != nil {
		return drivers.ProbeResult{}, drivers.BadConfig(err)
	}
	ctx, cancel := within(ctx, cfg.Timeout, "the probe")
	defer cancel()
	p := &probe{engine: e}
	for _, phase := range []struct {
		name string
		run  func(context.Context) error
	}{{"ping", p.ping}, {"abilities", p.abilities}, {"image", p.image}, {"create", p.create}} {
		if err := phase.run(ctx); err != nil {
			return p.failed(ctx, phase.name, err), nil
		}
	}
	p.result.OK = true
	p.result.Summary = fmt.Sprintf("Docker %s at %s can make containers of %s", p.version, cfg.Host, cfg.Image)
	if !p.here {
		p.result.Summary = fmt.Sprintf("Docker %s at %s works, and the registry has %s", p.version, cfg.Host, cfg.Image)
	}
	return p.result, nil
}

// probe is one probe under way.
type probe struct {
	*engine
	result  drivers.ProbeResult
	version string
	// here says that the engine has the image.
	here bool
}

func (p *probe) say(severity drivers.Severity, code, message, remediation string) {
	p.result.Diagnostics = append(p.result.Diagnostics, drivers.Diagnostic{
		Severity: severity, Code: code, Message: message, Remediation: remediation,
	})
}

func (p *probe) failed(ctx context.Context, phase string, err error) drivers.ProbeResult {
	f := failed(ctx, phase, err)
	if phase == "image" && isDenied(err) {
		phase = "auth"
	}
	p.result.Phase = phase
	p.result.Summary = f.Err.Error()
	p.say(drivers.SeverityError, f.Code, f.Err.Error(), f.Remediation)
	return p.result
}

func (p *probe) ping(ctx context.Context) error {
	if err := p.connect(ctx); err != nil {
		return err
	}
	pong, err := p.Ping(ctx, client.PingOptions{})
	if err != nil {
		return err
	}
	if pong.OSType != "" && pong.OSType != "linux" {
		return &drivers.Failure{
			Outcome: drivers.OutcomeDefinite, Code: "engine_unsuitable", Step: "ping", Err: fmt.Errorf("the engine makes containers of %s", pong.OSType),
			Remediation: "use an engine for Linux containers",
		}
	}
	version, err := p.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return err
	}
	p.version = version.Version
	p.say(drivers.SeverityInfo, "engine_version", fmt.Sprintf("engine %s, API %s, spoken here: %s", version.Version, version.APIVersion, p.ClientVersion()), "")
	return nil
}

func (p *probe) abilities(ctx context.Context) error { return p.refuse(ctx) }

func (p *probe) image(ctx context.Context) error {
	var err error
	if p.here, err = p.hasImage(ctx); err != nil {
		return err
	}
	if p.here {
		p.say(drivers.SeverityInfo, "image_present", "the engine has the image "+p.cfg.Image, "")
		if p.cfg.PullPolicy != PullAlways {
			return nil
		}
	} else if p.cfg.PullPolicy == PullNever {
		return imageUnavailable("image", drivers.OutcomeDefinite, fmt.Errorf("the engine has no image %s, and pullPolicy is never", p.cfg.Image))
	}
	auth, err := p.auth()
	if err != nil {
		return err
	}
	if _, err := p.DistributionInspect(ctx, p.cfg.Image, client.DistributionInspectOptions{EncodedRegistryAuth: auth}); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return imageUnavailable("image", drivers.OutcomeRetryable, err)
	}
	p.say(drivers.SeverityInfo, "image_pullable", "the registry has the image "+p.cfg.Image, "")
	return nil
}

const (
	probeName = "tenure-probe-"
	// probeAge is how old the container of a probe must be to be one that a probe could not remove.
	probeAge = 10 * time.Minute
)

// create starts a container of the configuration and waits for its end.
func (p *probe) create(ctx context.Context) error {
	p.sweep(ctx)
	if !p.here {
		return nil
	}
	opts := p.baseOptions(inner.Check)
	opts.Name = probeName + uuid.NewString()
	opts.Config.Labels = map[string]string{labelProbe: strconv.FormatInt(time.Now().Unix(), 10)}
	if p.firstTry() == mounted {
		opts.HostConfig.Mounts = []mount.Mount{p.bindInner()}
	}
	made, err := p.ContainerCreate(ctx, opts)
	if err != nil && cannotMount(err) {
		opts.HostConfig.Mounts = nil
		made, err = p.ContainerCreate(ctx, opts)
	}
	if err != nil {
		return err
	}
	defer p.discard(ctx, made.ID)
	for _, w := range made.Warnings {
		p.say(drivers.SeverityWarning, "engine_warning", w, "")
	}
	if len(opts.HostConfig.Mounts) == 0 {
		// The program would have to be copied: that a container can be created is as much as is tried.
		return nil
	}
	ended := p.ContainerWait(ctx, made.ID, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
	if _, err := p.ContainerStart(ctx, made.ID, client.ContainerStartOptions{}); err != nil {
		return err
	}
	select {
	case end := <-ended.Result:
		if end.StatusCode != 0 {
			return &drivers.Failure{
				Outcome: drivers.OutcomeDefinite, Code: "start_failed", Step: "create", Err: fmt.Errorf("a program in the container exited with %d", end.StatusCode),
				Remediation: "give the container more memory, and see that the image is of the engine's architecture",
			}
		}
		return nil
	case err := <-ended.Error:
		return err
	}
}

// discard removes the container of this probe.
func (p *probe) discard(ctx context.Context, id string) {
	ctx, cancel := forCleanup(ctx)
	defer cancel()
	_, err := p.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && !errdefs.IsNotFound(err) {
		p.log.Warn("the container of a probe is left, for the next probe to remove", "container", id, "error", err)
	}
}

// sweep removes containers of probes that died over them.
func (p *probe) sweep(ctx context.Context) {
	found, err := p.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: client.Filters{}.Add("label", labelProbe)})
	if err != nil {
		return // the phase will meet the same error
	}
	for _, c := range found.Items {
		began, err := strconv.ParseInt(c.Labels[labelProbe], 10, 64)
		if err == nil && time.Since(time.Unix(began, 0)) > probeAge {
			p.discard(ctx, c.ID)
		}
	}
}
