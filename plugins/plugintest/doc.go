// Package plugintest helps to test plugins: drivers across the wire, as an engine would use them, and a provider on the
// published npm SDK.
package plugintest
