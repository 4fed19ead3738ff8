package marathontest

var groupTests = map[string]func(*client){
	"Reading":       readGroups,
	"CreateAndPut":  writeGroups,
	"DeleteIsAll":   deleteGroup,
	"NoSuchVersion": groupVersions,
}

func readGroups(c *client) {
	c.want(201, "POST", "/v2/apps", c.app("a", idle))
	c.want(201, "POST", "/v2/apps", c.app("sub/b", idle))
	g := c.want(200, "GET", "/v2/groups"+c.group, nil)
	c.equal("id", g.get("id"), c.group)
	c.equal("app", g.get("apps", 0, "id"), c.id("a"))
	c.equal("group", g.get("groups", 0, "id"), c.id("sub"))
	c.equal("app below", g.get("groups", 0, "apps", 0, "id"), c.id("sub/b"))
	if g.get("version") == nil || g.get("pods") == nil || g.get("dependencies") == nil {
		c.Errorf("group %s", g.text)
	}
	only := c.want(200, "GET", "/v2/groups"+c.group+"?embed=group.groups", nil)
	c.equal("apps not asked for", only.get("apps"), []any{})
	apps, _ := c.want(200, "GET", "/v2/groups"+c.group+"/apps", nil).body.([]any)
	if len(apps) == 0 {
		c.Error("no apps below the group")
	}
	c.equal("root", c.want(200, "GET", "/v2/groups", nil).get("id"), "/")
}

func writeGroups(c *client) {
	body := object{"id": c.group, "apps": []object{c.app("a", idle), c.app("b", idle)}}
	dry := c.want(200, "PUT", "/v2/groups?dryRun=true", object{"id": c.group, "apps": []object{c.app("a", idle)}})
	if dry.get("steps") == nil {
		c.Errorf("dry run %s", dry.text)
	}
	c.want(404, "GET", "/v2/groups"+c.group, nil)
	r := c.want(201, "POST", "/v2/groups", body)
	c.over(r.get("deploymentId"))
	c.want(409, "POST", "/v2/groups", body)
	r = c.want(200, "PUT", "/v2/groups"+c.group, object{"apps": []object{c.app("b", idle)}})
	c.over(r.get("deploymentId"))
	c.want(404, "GET", c.path("a"), nil)
	c.want(200, "GET", c.path("b"), nil)
}

func deleteGroup(c *client) {
	c.create(nil)
	c.over(c.want(200, "DELETE", "/v2/groups"+c.group, nil).get("deploymentId"))
	c.want(404, "GET", c.path("a"), nil)
	c.want(404, "DELETE", "/v2/groups"+c.group, nil)
}

func groupVersions(c *client) {
	c.want(201, "POST", "/v2/apps", c.app("a", idle))
	list, isList := c.want(200, "GET", "/v2/groups/versions", nil).body.([]any)
	if !isList || len(list) == 0 {
		c.Errorf("versions of the root group: %v", list)
	}
}
