package kit

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Memory is what a pod's process has, in bytes.
type Memory struct {
	// Resident is all of it in memory, pages of the program's file included; Peak, the most that it ever was.
	Resident, Peak int64
	// WorkingSet is the container's, as the kubelet counts it against a limit; 0 where the kernel does not say.
	WorkingSet int64
}

// MemoryOf reads a pod's memory from the kernel: the kubelet's own figures are many seconds old.
func (s *S) MemoryOf(pod corev1.Pod) Memory {
	s.T.Helper()
	var memory Memory
	for _, status := range pod.Status.ContainerStatuses {
		dir, err := processOf(strings.TrimPrefix(status.ContainerID, "containerd://"))
		if err != nil {
			s.T.Fatalf("pod %s/%s: %v", pod.Namespace, pod.Name, err)
		}
		text, err := os.ReadFile(filepath.Join(dir, "status"))
		s.Must(err)
		memory.Resident += kilobytes(text, "VmRSS:")
		memory.Peak += kilobytes(text, "VmHWM:")
		memory.WorkingSet += workingSet(dir)
	}
	return memory
}

// processOf is the folder under /proc of a container's first process.
func processOf(container string) (string, error) {
	all, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return "", err
	}
	for _, file := range all {
		if text, err := os.ReadFile(file); err == nil && container != "" && bytes.Contains(text, []byte(container)) {
			return filepath.Dir(file), nil
		}
	}
	return "", fmt.Errorf("container %q has no process", container)
}

func kilobytes(text []byte, field string) int64 {
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == field {
			value, _ := strconv.ParseInt(fields[1], 10, 64)
			return value << 10
		}
	}
	return 0
}

// workingSet is what the cgroup uses less the file pages that nobody has touched for a while, in either version.
func workingSet(process string) int64 {
	text, err := os.ReadFile(filepath.Join(process, "cgroup"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		switch parts[1] {
		case "memory":
			dir := filepath.Join("/sys/fs/cgroup/memory", parts[2])
			return number(dir, "memory.usage_in_bytes", "") - number(dir, "memory.stat", "total_inactive_file")
		case "":
			dir := filepath.Join("/sys/fs/cgroup", parts[2])
			if used := number(dir, "memory.current", ""); used > 0 {
				return used - number(dir, "memory.stat", "inactive_file")
			}
		}
	}
	return 0
}

// number is a file's one number, or the one behind a name.
func number(dir, file, name string) int64 {
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if name == "" && len(fields) == 1 || len(fields) == 2 && fields[0] == name {
			value, _ := strconv.ParseInt(fields[len(fields)-1], 10, 64)
			return value
		}
	}
	return 0
}
