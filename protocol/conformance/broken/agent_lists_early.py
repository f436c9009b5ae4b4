"""Lists a backup as soon as its upload starts."""

from the_agent import agent

listed = agent.Session.list


def with_uploads(session: agent.Session, params: agent.Params) -> agent.Json:
    page = listed(session, params)
    uploads = [t for t in session.running.values() if isinstance(t, agent.Upload) and t.begun]
    page["backups"] += [upload.backup.shown() for upload in uploads]
    return page


agent.QUICK["backup.list"] = with_uploads
agent.main()
