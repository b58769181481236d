package kit

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ExternalName gives a name outside the cluster an address, until the scenario's end. The kubelet brings it to CoreDNS
// after some seconds.
func (s *S) ExternalName(name, address string) {
	s.T.Helper()
	edit := func(change func(hosts map[string]string)) error {
		maps := s.Kube.CoreV1().ConfigMaps("kube-system")
		config, err := maps.Get(s.ctx, "coredns", metav1.GetOptions{})
		if err != nil {
			return err
		}
		hosts := parseHosts(config)
		change(hosts)
		config.Data["hosts"] = ""
		for name, address := range hosts {
			config.Data["hosts"] += address + " " + name + "\n"
		}
		_, err = maps.Update(s.ctx, config, metav1.UpdateOptions{})
		return err
	}
	s.Eventually("a host in CoreDNS's configuration", func() error {
		return edit(func(hosts map[string]string) { hosts[name] = address })
	})
	s.T.Cleanup(func() {
		if err := edit(func(hosts map[string]string) { delete(hosts, name) }); err != nil {
			s.T.Log(err)
		}
	})
}

func parseHosts(config *corev1.ConfigMap) map[string]string {
	hosts := map[string]string{}
	for line := range strings.Lines(config.Data["hosts"]) {
		if fields := strings.Fields(line); len(fields) == 2 {
			hosts[fields[1]] = fields[0]
		}
	}
	return hosts
}
