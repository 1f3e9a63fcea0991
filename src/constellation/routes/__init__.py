"""Every public route as data: method, template, plane, permission, models, streams or not."""
