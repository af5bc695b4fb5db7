package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/manifest"
	"github.com/tenure-dev/tenure/plugins/protocol"
)

// initialize shakes hands and holds what the worker says against its manifest.
func (c *child) initialize(ctx context.Context) error {
	o, m := c.plugin.opts, c.plugin.installed.Manifest
	params := protocol.InitializeParams{
		Manifest: m.Raw, Config: json.RawMessage("{}"), APIVersion: manifest.APIVersion, Tenure: &protocol.TenureOffer{Version: protocol.ExtensionVersion},
		InstanceInfo: protocol.InstanceInfo{
			InstanceID: o.InstanceID, HostVersion: o.HostVersion, DeploymentMode: o.DeploymentMode, DeploymentExposure: o.DeploymentExposure,
		},
	}
	var got protocol.InitializeResult
	if err := c.conn.Call(ctx, protocol.MethodInitialize, params, &got); err != nil {
		if said, ok := errors.AsType[*protocol.Error](err); ok {
			return startFailure("plugin_start_failed", errors.New("initialize: "+c.secrets.quote(said.Error(), 1000)), "see what it printed")
		}
		return startFailure("plugin_start_failed", err, "see what it printed; it must answer initialize on its standard output")
	}
	if !got.OK {
		return startFailure("plugin_start_failed", errors.New("initialize: the worker says that it is not ok"), "see what it printed")
	}
	c.methods = got.SupportedMethods
	if got.Tenure != nil && got.Tenure.Version == protocol.ExtensionVersion {
		c.tenure = got.Tenure.Drivers
		if c.tenure == nil {
			c.tenure = map[string]protocol.TenureDriver{}
		}
	}
	if lies := lies(m, c.methods, c.tenure); len(lies) > 0 {
		return startFailure("plugin_manifest_lies",
			fmt.Errorf("the manifest promises what the worker does not have: %s", c.secrets.quote(strings.Join(lies, "; "), 2000)),
			"tell the plugin's author, or install a version whose manifest is true")
	}
	return nil
}

func startFailure(code string, err error, remediation string) error {
	return &drivers.Failure{Outcome: drivers.OutcomeRetryable, Code: code, Step: "initialize", Err: err, Remediation: remediation}
}

// lies are the promises of a manifest that a worker does not keep. Each names the verb.
func lies(m manifest.Manifest, has methods, tenure map[string]protocol.TenureDriver) []string {
	var found []string
	need := func(d manifest.Driver, promise string, verbs ...string) {
		for _, verb := range verbs {
			if !has.has(verb) {
				found = append(found, fmt.Sprintf("driver %q %s, but %s is not served", d.Key, promise, verb))
			}
		}
	}
	for _, d := range m.Drivers {
		need(d, "is declared", protocol.MethodAcquire)
		if !has.has(protocol.MethodRelease) && !has.has(protocol.MethodDestroy) {
			need(d, "is declared", protocol.MethodRelease)
		}
		if d.ReusableLeases {
			need(d, "declares reusable leases", protocol.MethodResume, protocol.MethodRelease, protocol.MethodDestroy)
		}
		if d.Tenure == nil {
			continue
		}
		said, ok := tenure[d.Key]
		if !ok {
			found = append(found, fmt.Sprintf("driver %q is declared under tenure, but the worker's answer to initialize does not have it", d.Key))
			continue
		}
		found = append(found, differences(d.Key, *d.Tenure, said)...)
		if d.Tenure.Exec {
			need(d, "declares exec", protocol.MethodExecStart, protocol.MethodExecKill)
		}
		if d.Tenure.List {
			need(d, "declares list", protocol.MethodList)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(tenure)) {
		if _, ok := m.Driver(key); !ok {
			found = append(found, fmt.Sprintf("the worker has a driver %q that the manifest does not declare", key))
		}
	}
	return found
}

func differences(key string, declared, said protocol.TenureDriver) []string {
	var found []string
	differ := func(field string, declared, said any) {
		if declared != said {
			found = append(found, fmt.Sprintf("driver %q declares %s %v, but the worker says %v", key, field, declared, said))
		}
	}
	differ("class", declared.Class, said.Class)
	differ("isolation", declared.Isolation, said.Isolation)
	differ("nodeBound", declared.NodeBound, said.NodeBound)
	differ("exec", declared.Exec, said.Exec)
	differ("list", declared.List, said.List)
	return found
}
