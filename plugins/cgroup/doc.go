// Package cgroup limits what processes use: memory, processes and processor time, with cgroup v1 or v2, whichever is
// mounted and may be written.
//
// A privileged engine hands a directory to a worker that is not ([Delegate]); the worker makes groups below it ([Decode]).
// Without that, a worker uses what its own cgroup allows it to ([Detect]). What cannot be limited is named by
// [Hierarchy.Missing]; nothing is ever limited in appearance only.
//
//	v1   <mount>/<the engine's cgroup>/tenure-<name>/<group>   one tree per controller; threads join by a write to tasks
//	v2   <the engine's cgroup>/tenure-<name>/<group>           one tree; processes are forked into the group
package cgroup
