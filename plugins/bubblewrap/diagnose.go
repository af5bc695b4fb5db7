package bubblewrap

import (
	"os"
	"strconv"
	"strings"
)

// diagnose finds a code and a remediation for bwrap's own words.
func diagnose(words string) (code, remediation string) {
	has := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(words, p) {
				return true
			}
		}
		return false
	}
	switch {
	case has("No permissions to creat", "Creating new namespace failed", "setting up uid map", "Failed to make / slave"):
		return "no_user_namespaces", "allow unprivileged user namespaces on this machine: " + userNamespaces().remediation
	case has("Can't find source path"):
		return "missing_mount", "make the path exist on the machine of this worker, or release the lease and acquire a new one"
	case has("Can't mount proc"):
		return "no_proc_mount", "the worker itself runs in a container that masks /proc; run it on the host, or unmask /proc"
	case has("loopback"):
		return "no_network_namespace", "allow network namespaces on this machine, or set config.network to \"host\""
	case has("Unknown option"):
		return "bwrap_too_old", "install bubblewrap 0.8.0 or newer"
	case has("execvp", "execve"):
		return "inner_parent_unusable", "the worker's program must be executable by its user and its libraries must be below /usr or /lib"
	case has("out of memory", "Cannot allocate memory", "Resource temporarily unavailable"):
		return "no_resources", "end other processes of the worker's user, or raise its limits (ulimit -u)"
	}
	return "sandbox_failed", "probe the environment; run bwrap by hand as the worker's user to see more"
}

// finding is what the kernel says of user namespaces.
type finding struct{ ok, problem, remediation string }

// userNamespaces reads the switches that keep unprivileged users from making them.
func userNamespaces() finding {
	read := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(b))
	}
	if read("/proc/sys/kernel/unprivileged_userns_clone") == "0" {
		return finding{problem: "kernel.unprivileged_userns_clone is 0", remediation: "sysctl kernel.unprivileged_userns_clone=1"}
	}
	most := read("/proc/sys/user/max_user_namespaces")
	if n, err := strconv.Atoi(most); err == nil && n == 0 {
		return finding{problem: "user.max_user_namespaces is 0", remediation: "sysctl user.max_user_namespaces=10000"}
	}
	if read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1" {
		return finding{
			problem:     "kernel.apparmor_restrict_unprivileged_userns is 1",
			remediation: "install an AppArmor profile that lets bwrap create user namespaces, or sysctl kernel.apparmor_restrict_unprivileged_userns=0",
		}
	}
	if _, err := os.Lstat("/proc/self/ns/user"); err != nil {
		return finding{problem: "the kernel has no user namespaces", remediation: "use a kernel with CONFIG_USER_NS"}
	}
	return finding{
		ok:          "unprivileged user namespaces are allowed (at most " + most + ")",
		remediation: "look for a seccomp filter or a container around the worker that forbids clone and unshare",
	}
}
