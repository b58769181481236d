// Package image makes container images of single programs, as archives that `ctr images import` takes: no registry and
// no daemon is needed.
package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"time"
)

// Image is one layer and what to run in it.
type Image struct {
	Tags []string
	// Files by their path in the image; the value is where they come from. All of them are readable and executable.
	Files      map[string]string
	Entrypoint []string
	Cmd        []string
	User       string
}

// Write stores the image as a docker archive and returns the size of its layer.
func (i Image) Write(to string) (int64, error) {
	layer, err := i.layer()
	if err != nil {
		return 0, err
	}
	layerID := digest(layer)
	config, err := json.Marshal(map[string]any{
		"architecture": "amd64",
		"os":           "linux",
		"config": map[string]any{
			"Entrypoint": i.Entrypoint,
			"Cmd":        i.Cmd,
			"User":       i.User,
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + layerID}},
	})
	if err != nil {
		return 0, err
	}
	configName := digest(config) + ".json"
	manifest, err := json.Marshal([]map[string]any{{
		"Config": configName, "RepoTags": i.Tags, "Layers": []string{layerID + "/layer.tar"},
	}})
	if err != nil {
		return 0, err
	}
	file, err := os.Create(to)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	archive := tar.NewWriter(file)
	for _, part := range []struct {
		name string
		data []byte
	}{{configName, config}, {layerID + "/layer.tar", layer}, {"manifest.json", manifest}} {
		if err := add(archive, part.name, int64(len(part.data)), bytes.NewReader(part.data), 0o644); err != nil {
			return 0, err
		}
	}
	if err := archive.Close(); err != nil {
		return 0, err
	}
	return int64(len(layer)), file.Close()
}

func (i Image) layer() ([]byte, error) {
	var data bytes.Buffer
	archive := tar.NewWriter(&data)
	folders := map[string]bool{}
	for _, name := range sortedKeys(i.Files) {
		if err := addFolders(archive, path.Dir(name), folders); err != nil {
			return nil, err
		}
		file, err := os.Open(i.Files[name])
		if err != nil {
			return nil, err
		}
		info, err := file.Stat()
		if err == nil {
			err = add(archive, name[1:], info.Size(), file, 0o755)
		}
		file.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	return data.Bytes(), nil
}

func addFolders(archive *tar.Writer, folder string, done map[string]bool) error {
	if folder == "/" || folder == "." || done[folder] {
		return nil
	}
	if err := addFolders(archive, path.Dir(folder), done); err != nil {
		return err
	}
	done[folder] = true
	return archive.WriteHeader(&tar.Header{
		Typeflag: tar.TypeDir, Name: folder[1:] + "/", Mode: 0o755, ModTime: time.Unix(0, 0),
	})
}

// add writes with a fixed time, so that equal files give an equal image.
func add(archive *tar.Writer, name string, size int64, from io.Reader, mode int64) error {
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: mode, ModTime: time.Unix(0, 0)}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	_, err := io.Copy(archive, from)
	return err
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func sortedKeys(files map[string]string) []string {
	return slices.Sorted(maps.Keys(files))
}
