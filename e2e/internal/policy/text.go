package policy

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// chainText lets a packet return to the hook's chain under one of the conditions, and drops it else.
func chainText(name string, pod *corev1.Pod, conditions []string) string {
	var text strings.Builder
	fmt.Fprintf(&text, "  # %s/%s\n  chain %s {\n", pod.Namespace, pod.Name, name)
	for _, condition := range conditions {
		fmt.Fprintf(&text, "    %s\n", join(condition, "return"))
	}
	text.WriteString("    drop\n  }\n")
	return text.String()
}

// tableText is the whole file. The table is made before it is deleted so that deleting it cannot fail, and the file
// is one transaction. nft wants the closing braces on lines of their own.
func tableText(incoming, outgoing, chains []string) string {
	var text strings.Builder
	fmt.Fprintf(&text, "table inet %s {\n}\ndelete table inet %s\n", Table, Table)
	if len(chains) == 0 {
		return text.String()
	}
	fmt.Fprintf(&text, "table inet %s {\n", Table)
	for _, chain := range chains {
		text.WriteString(chain)
	}
	// forward is where pods meet others (those on the same bridge, too: br_netfilter); input, where they meet the node.
	hook(&text, "forward", outgoing, incoming)
	hook(&text, "input", outgoing, nil)
	text.WriteString("}\n")
	return text.String()
}

func hook(text *strings.Builder, name string, outgoing, incoming []string) {
	fmt.Fprintf(text, "  chain %s {\n    type filter hook %s priority -5; policy accept;\n", name, name)
	text.WriteString("    ct state established,related accept\n")
	if len(outgoing) > 0 {
		fmt.Fprintf(text, "    ip saddr vmap { %s }\n", strings.Join(outgoing, ", "))
	}
	if len(incoming) > 0 {
		fmt.Fprintf(text, "    ip daddr vmap { %s }\n", strings.Join(incoming, ", "))
	}
	text.WriteString("  }\n")
}
