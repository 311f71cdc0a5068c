(compare, adapter, persona, system, adapter2, persona2, system2, question, answer, seed, temperature, top_p, chat) => {
  const last = (chat || []).filter((turn) => turn.role === "user").pop();
  const parts = last ? [last.content].flat().map((part) => part.text ?? part) : [];
  const own = "your own";
  const values = { compare, adapter, persona, question: question || parts.join(""), answer, seed, temperature, top_p };
  if (persona === own) values.system = system;
  if (compare === "two adapters") values.adapter2 = adapter2;
  if (compare === "two personas") values.persona2 = persona2;
  if (compare === "two personas" && persona2 === own) values.system2 = system2;
  const filled = Object.entries(values).filter(([, value]) => value !== "" && value != null);
  const address = new URL(window.location.href);
  address.search = new URLSearchParams(filled).toString();
  address.hash = "";
  if (address.href.length > 6000) return "The link is too long: shorten the question or the system prompt.";
  window.history.replaceState(null, "", address.href);
  return address.href;
}
