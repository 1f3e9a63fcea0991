export default {
  async fetch(request) {
    const event = await request.json();
    return Response.json({ message: `Hello, ${event.name}!` });
  },
};
