package resources

import (
	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// AttributesObject renders attributes as Mesos's endpoints do.
func AttributesObject(attributes []mesos.Attribute) map[string]any {
	object := map[string]any{}
	for _, attribute := range attributes {
		switch {
		case attribute.Scalar != nil:
			object[attribute.Name] = attribute.Scalar.Value
		case attribute.Ranges != nil:
			object[attribute.Name] = Of([]mesos.Resource{{Name: attribute.Name, Ranges: attribute.Ranges}}).Ranges(attribute.Name)
		case attribute.Text != nil:
			object[attribute.Name] = attribute.Text.Value
		}
	}
	return object
}
