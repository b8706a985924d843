-- Asks forwardauth about a request, with the HTTP client that HAProxy has had since 2.5; no other Lua library is needed.
-- haproxy.cfg calls it before all other rules that change a request, http-request lua.tocsin, and refuses right after it what
-- has no txn.tocsin_judged.
--
-- Accepted: our headers are set to what forwardauth says, and the credential is taken away. Refused: forwardauth's answer is the
-- client's. No answer: 503. After an error in here HAProxy goes on with its next rule: the variable, which only the last line of an
-- accepted request sets, is what tells that rule.

local url = "http://" .. (os.getenv("TOCSIN_FORWARDAUTH") or "127.0.0.1:8082") .. "/check"
local timeout = 5000 -- ms; an elite question takes up to a second

local identity = {
    "tocsin-subject", "tocsin-roles", "tocsin-mode", "tocsin-method", "tocsin-session",
    "tocsin-key-id", "tocsin-plan", "tocsin-actor", "tocsin-identity",
}

-- What belongs to the connection or the body isn't forwarded to forwardauth; what Connection names is judged here.
local dropped = {
    ["host"] = true, ["content-length"] = true, ["transfer-encoding"] = true, ["te"] = true, ["trailer"] = true,
    ["upgrade"] = true, ["keep-alive"] = true, ["expect"] = true, ["connection"] = true, ["proxy-connection"] = true,
    ["accept-encoding"] = true,
}

local own = { ["x-original-method"] = true, ["x-original-host"] = true, ["x-original-uri"] = true }

local function values(list)
    local all = {}
    for i = 0, #list do
        all[#all + 1] = list[i]
    end
    return all
end

-- problem is what forwardauth would say, for when it says nothing.
local function problem(txn, status, title, code, detail)
    local reply = txn:reply({ status = status, reason = title })
    reply:add_header("content-type", "application/problem+json")
    reply:add_header("cache-control", "no-store")
    if status == 503 then
        reply:add_header("retry-after", "1")
    end
    reply:set_body(string.format('{"title":"%s","status":%d,"code":"%s","detail":"%s"}\n', title, status, code, detail))
    txn:done(reply)
end

-- target is the path with its query. HTTP/2 has no other form; in HTTP/1 an absolute one stays as it is, and is refused.
local function target(txn)
    if txn.sf:req_ver() == "1.1" or txn.sf:req_ver() == "1.0" then
        return txn.sf:url()
    end
    return txn.sf:pathq()
end

core.register_action("tocsin", { "http-req" }, function(txn)
    local headers, hosts = {}, {}
    for name, list in pairs(txn.http:req_get_headers()) do
        if name == "host" then
            hosts = values(list) -- whole lines; a fetch as req_hdr would give the last part of one with commas
        end
        for _, token in ipairs(name == "connection" and values(list) or {}) do
            if token:lower():gsub("[^a-z0-9]", "-"):find("tocsin-", 1, true) or token:lower():find("authorization", 1, true) then
                return problem(txn, 400, "Bad Request", "invalid_request", "a Connection header that names one of the proxy's")
            end
        end
        if own[name] then
            return problem(txn, 400, "Bad Request", "invalid_request", "a header that may show a backend another path, host or method")
        end
        if not dropped[name] then
            headers[name] = values(list)
        end
    end
    if #hosts ~= 1 then
        return problem(txn, 400, "Bad Request", "invalid_request", "one Host is wanted")
    end
    headers["x-original-method"] = { txn.sf:method() }
    headers["x-original-host"] = hosts
    headers["x-original-uri"] = { target(txn) }

    local client = core.httpclient()
    local answer = client:get({ url = url, headers = headers, timeout = timeout })
    local decision = answer and answer.headers and answer.headers["tocsin-decision"]
    if answer == nil or answer.status == nil or answer.status == 0 or answer.status >= 500 and answer.status ~= 503
        or answer.status == 200 and not (decision and decision[0] == "accepted") then
        return problem(txn, 503, "Service Unavailable", "auth_unavailable", "the request can't be judged right now")
    end
    if answer.status ~= 200 then
        local reply = txn:reply({ status = answer.status, reason = answer.reason })
        for _, name in ipairs({ "content-type", "cache-control", "retry-after", "ratelimit", "ratelimit-policy", "www-authenticate" }) do
            for _, value in ipairs(answer.headers[name] and values(answer.headers[name]) or {}) do
                reply:add_header(name, value)
            end
        end
        reply:set_body(answer.body)
        return txn:done(reply)
    end
    for _, name in ipairs(identity) do
        txn.http:req_del_header(name)
        local value = answer.headers[name]
        if value ~= nil and value[0] ~= nil and value[0] ~= "" then
            txn.http:req_set_header(name, value[0])
            if txn.sf:req_fhdr(name) ~= value[0] then -- no room left in HAProxy's buffer for the request (tune.bufsize)
                return problem(txn, 400, "Bad Request", "invalid_request", "the request is too long")
            end
        end
    end
    txn.http:req_del_header("authorization")
    txn:set_var("txn.tocsin_judged", true)
end, 0)
