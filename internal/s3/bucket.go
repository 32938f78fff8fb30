package s3

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"tidemill/jobs"
)

// defaultRegion is what servers other than Amazon's mostly expect.
const defaultRegion = "us-east-1"

// Bucket is a bucket in S3.
type Bucket struct {
	client *awss3.Client
	name   string
	where  string // for errors
}

// NewBucket makes a client for a bucket; nothing is asked of the server yet.
// Without keys in the connection, the usual sources of the AWS SDK apply.
func NewBucket(conn jobs.S3Connection, name string) (*Bucket, error) {
	load := []func(*config.LoadOptions) error{config.WithRegion(cmp.Or(conn.Region, defaultRegion))}
	if conn.AccessKey != "" {
		load = append(load, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(conn.AccessKey, conn.SecretKey, "")))
	}
	cfg, err := config.LoadDefaultConfig(context.Background(), load...)
	if err != nil {
		return nil, fmt.Errorf("configure S3 client: %w", err)
	}
	client := awss3.NewFromConfig(cfg, func(o *awss3.Options) {
		if conn.Endpoint != "" {
			o.BaseEndpoint = aws.String(conn.Endpoint)
			o.UsePathStyle = true
		}
		// Not every server knows the newer trailing checksums.
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	})
	return &Bucket{client: client, name: name, where: cmp.Or(conn.Endpoint, "AWS")}, nil
}

// Create makes the bucket where it is missing, and says whether it did.
func (b *Bucket) Create(ctx context.Context) (bool, error) {
	_, err := b.client.HeadBucket(ctx, &awss3.HeadBucketInput{Bucket: &b.name})
	if err == nil {
		return false, nil
	}
	if status(err) != http.StatusNotFound {
		return false, b.fail("look for", "", err)
	}
	_, err = b.client.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: &b.name})
	var owned *types.BucketAlreadyOwnedByYou
	if errors.As(err, &owned) {
		return false, nil
	}
	if err != nil {
		return false, b.fail("create", "", err)
	}
	return true, nil
}

// List implements Store.
func (b *Bucket) List(ctx context.Context, pattern string) ([]Object, error) {
	prefix := fixedPrefix(pattern)
	pages := awss3.NewListObjectsV2Paginator(b.client, &awss3.ListObjectsV2Input{Bucket: &b.name, Prefix: &prefix})
	var out []Object
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, b.fail("list", pattern, err)
		}
		for _, o := range page.Contents {
			if key := aws.ToString(o.Key); match(pattern, key) && !strings.HasSuffix(key, "/") {
				out = append(out, Object{Key: key, Size: aws.ToInt64(o.Size), ETag: aws.ToString(o.ETag)})
			}
		}
	}
	return out, nil
}

// Open implements Store.
func (b *Bucket) Open(ctx context.Context, key, etag string, offset int64) (io.ReadCloser, error) {
	in := &awss3.GetObjectInput{Bucket: &b.name, Key: &key}
	if etag != "" {
		in.IfMatch = &etag
	}
	if offset > 0 {
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", offset))
	}
	out, err := b.client.GetObject(ctx, in)
	switch status(err) {
	case http.StatusPreconditionFailed:
		return nil, b.fail("read", key, ErrChanged)
	case http.StatusRequestedRangeNotSatisfiable: // at or after the end
		return io.NopCloser(strings.NewReader("")), nil
	}
	if err != nil {
		return nil, b.fail("read", key, err)
	}
	if etag != "" && aws.ToString(out.ETag) != etag { // a server that ignores If-Match
		return nil, errors.Join(b.fail("read", key, ErrChanged), out.Body.Close())
	}
	return out.Body, nil
}

// Stat implements Store.
func (b *Bucket) Stat(ctx context.Context, key string) (Object, map[string]string, error) {
	out, err := b.client.HeadObject(ctx, &awss3.HeadObjectInput{Bucket: &b.name, Key: &key})
	if err != nil {
		return Object{}, nil, b.fail("look for", key, err)
	}
	meta := map[string]string{}
	for k, v := range out.Metadata {
		meta[strings.ToLower(k)] = v
	}
	return Object{Key: key, Size: aws.ToInt64(out.ContentLength), ETag: aws.ToString(out.ETag)}, meta, nil
}

// PutNew implements Store.
func (b *Bucket) PutNew(ctx context.Context, key string, body []byte, meta map[string]string) error {
	_, err := b.client.PutObject(ctx, &awss3.PutObjectInput{
		Bucket: &b.name, Key: &key, Body: bytes.NewReader(body), Metadata: meta, IfNoneMatch: aws.String("*"),
	})
	switch status(err) {
	case http.StatusPreconditionFailed:
		return b.fail("write", key, ErrExists)
	}
	if err != nil {
		return b.fail("write", key, err)
	}
	return nil
}

func status(err error) int {
	var reply *awshttp.ResponseError
	if errors.As(err, &reply) {
		return reply.HTTPStatusCode()
	}
	return 0
}

func (b *Bucket) fail(op, key string, err error) error {
	e := &jobs.Error{Code: jobs.Unavailable, Op: op, Subject: Location{b.name, key}.String(), Err: err}
	var noBucket *types.NoSuchBucket
	switch code := status(err); {
	case errors.Is(err, ErrExists), errors.Is(err, ErrChanged):
		e.Code = jobs.Conflict
	case errors.As(err, &noBucket):
		e.Code, e.Hint = jobs.NotFound, "make the bucket by: tidemill schema apply --bucket "+b.name
	case code == http.StatusNotFound:
		e.Code, e.Err = jobs.NotFound, errors.Join(ErrNotFound, err)
	case code == http.StatusForbidden:
		e.Code, e.Hint = jobs.Invalid, "check the connection's access_key and secret_key"
	case code == 0 && !errors.Is(err, context.Canceled):
		e.Hint = "check that S3 answers at " + b.where + "; a development one is started by: tidemill stack up"
	}
	return e
}
