package export

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/guardlock/guardlock/internal/disk"
)

// Bucket is a prefix of an S3 bucket. Nothing keeps two exports from writing to one.
type Bucket struct {
	client         *minio.Client
	bucket, prefix string
}

// OpenBucket takes s3://bucket/prefix, and how to read the environment. The endpoint, the region and the credentials
// are those of AWS's own tools: AWS_ENDPOINT_URL_S3, AWS_REGION, AWS_ACCESS_KEY_ID,
// ~/.aws/credentials, or those of the machine.
func OpenBucket(place string, getenv func(string) string) (*Bucket, error) {
	at, err := url.Parse(place)
	if err != nil || at.Scheme != "s3" || at.Host == "" {
		return nil, fmt.Errorf("opening %s: want s3://bucket/prefix", place)
	}

	endpoint, err := url.Parse(firstOf(getenv("AWS_ENDPOINT_URL_S3"), getenv("AWS_ENDPOINT_URL"), "https://s3.amazonaws.com"))
	if err != nil || endpoint.Host == "" {
		return nil, fmt.Errorf("opening %s: AWS_ENDPOINT_URL_S3 is no URL", place)
	}
	client, err := minio.New(endpoint.Host, &minio.Options{
		Secure: endpoint.Scheme != "http",
		Region: firstOf(getenv("AWS_REGION"), getenv("AWS_DEFAULT_REGION")),
		Creds: credentials.NewChainCredentials([]credentials.Provider{
			&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{},
		}),
	})
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", place, err)
	}

	prefix := strings.Trim(at.Path, "/")
	if prefix != "" {
		prefix += "/"
	}
	return &Bucket{client, at.Host, prefix}, nil
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// Put writes an object, with a checksum of it.
func (b *Bucket) Put(ctx context.Context, name string, content []byte) error {
	_, err := b.client.PutObject(ctx, b.bucket, b.prefix+name, bytes.NewReader(content), int64(len(content)),
		minio.PutObjectOptions{SendContentMd5: true, DisableMultipart: true})
	return err
}

// Get reads an object.
func (b *Bucket) Get(ctx context.Context, name string) ([]byte, error) {
	object, err := b.client.GetObject(ctx, b.bucket, b.prefix+name, minio.GetObjectOptions{})
	if err != nil {
		return nil, err
	}

	defer object.Close()
	content, err := io.ReadAll(io.LimitReader(object, disk.MaxBytes))
	if r := minio.ToErrorResponse(err); err != nil && r.StatusCode == http.StatusNotFound && r.Code == minio.NoSuchKey {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	return content, err
}

// Names lists the prefix.
func (b *Bucket) Names(ctx context.Context) ([]string, error) {
	var names []string
	for object := range b.client.ListObjects(ctx, b.bucket, minio.ListObjectsOptions{Prefix: b.prefix + "decisions-"}) {
		if object.Err != nil {
			return nil, object.Err
		}
		names = append(names, strings.TrimPrefix(object.Key, b.prefix))
	}
	return names, nil
}

// Close has nothing to give back.
func (b *Bucket) Close() error { return nil }
